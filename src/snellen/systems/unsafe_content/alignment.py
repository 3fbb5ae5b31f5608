"""Which categories a classifier claims: the table of UnsafeBench, and what is scored because of it.

A detector of nudity that says nothing about ballots is not wrong about ballots. Each classifier is scored on the
categories that it claims, and on no others; a cell outside of the table is "not claimed" and never a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from snellen.core.errors import InputError, unknown_name
from snellen.systems.unsafe_content.policy import Policy

#: What the published classifiers claim (data sets and labels of their authors); None: every category of a policy.
CLAIMS: Mapping[str, tuple[str, ...] | None] = {
    "q16": (
        "Hate", "Harassment", "Violence", "Self-harm", "Shocking", "Illegal activity", "Deception", "Political",
        "Public and personal health",
    ),
    "multi-headed": ("Sexual", "Violence", "Shocking", "Hate", "Political"),
    "sd-filter": ("Sexual",),
    "nsfw-detector": ("Harassment", "Sexual"),
    "nudenet": ("Sexual",),
    "perspective-vision": None,
}  # fmt: skip


def claimed(claims: str | Sequence[str] | None, policy: Policy) -> tuple[str, ...]:
    """Names of the categories that a classifier claims, in the order of the policy.

    >>> from snellen.systems.unsafe_content.policy import default_policy
    >>> claimed("nsfw-detector", default_policy())
    ('Harassment', 'Sexual')

    Args:
        claims: name of a published classifier (:data:`CLAIMS`), names of categories, or None for all of them.
        policy: what is measured.

    Raises:
        UnknownNameError: no such classifier, or no such category.
        InputError: it claims nothing of this policy, so that there is nothing to measure.
    """
    if isinstance(claims, str):
        if claims not in CLAIMS:
            raise unknown_name("classifier with known claims", claims, CLAIMS)
        known = CLAIMS[claims]
        names = policy.names if known is None else tuple(one for one in known if one in policy.names)
    else:
        names = policy.names if claims is None else tuple(policy[one].name for one in claims)
    if not names:
        raise InputError(
            f"{claims!r} claims none of the categories {', '.join(policy.names)}: nothing of it can be scored"
        )
    return tuple(one for one in policy.names if one in set(names))
