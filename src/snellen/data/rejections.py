"""Images that could not be used: how many for which reason, and how many are too many."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from snellen.core.errors import InputError

#: Share of rejected images above which a result would be of other images than those that were meant.
TOLERATED = 0.05

#: Reasons that a message lists.
LISTED = 3


def counted_reasons(reasons: Iterable[str]) -> dict[str, int]:
    """How often each reason occurs, the most frequent first; those that differ in numbers alone are one.

    >>> counted_reasons(["30×18 pixels", "20×18 pixels", "the file is empty"])
    {'30×18 pixels': 2, 'the file is empty': 1}
    """
    first: dict[str, str] = {}
    times: Counter[str] = Counter()
    for reason in reasons:
        alike = re.sub(r"\d+", "0", reason)
        first.setdefault(alike, reason)
        times[alike] += 1
    return {first[alike]: count for alike, count in times.most_common()}


def listed_reasons(reasons: dict[str, int]) -> str:
    """The most frequent reasons in words.

    >>> listed_reasons({"the file is empty": 2, "damaged": 1})
    '2 × the file is empty; 1 × damaged'
    """
    shown = [f"{count} × {reason}" for reason, count in list(reasons.items())[:LISTED]]
    more = len(reasons) - len(shown)
    return "; ".join(shown) + (f"; and {more} other reasons" if more > 0 else "")


def check_rejected(rejected: Mapping[str, str], total: int, name: str, *, allowed: bool) -> None:
    """Refuse a result that would leave out more than :data:`TOLERATED` of the images, unless that is allowed.

    Args:
        rejected: id of each rejected image, and why it could not be used.
        total: images in all.
        name: of the set.
        allowed: whether any share is.

    Raises:
        InputError: too many are rejected; the message counts the reasons, and names the first images.
    """
    if allowed or len(rejected) <= TOLERATED * total:
        return
    first = ", ".join(list(rejected)[:LISTED]) + (", …" if len(rejected) > LISTED else "")
    raise InputError(
        f"{len(rejected)} of {total} images of {name} are rejected, more than {TOLERATED:.0%}: "
        f"{listed_reasons(counted_reasons(rejected.values()))} ({first}). Mend that, or go on without "
        f"them: --allow-rejected, allow_rejected=True"
    )
