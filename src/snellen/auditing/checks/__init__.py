"""The checks, by name. ``clean`` always runs: every other check is compared with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from snellen.auditing.check import Check
from snellen.auditing.checks.adversarial import Adversarial
from snellen.auditing.checks.attributes import Attributes
from snellen.auditing.checks.backdoor import BackdoorCheck
from snellen.auditing.checks.background import Background
from snellen.auditing.checks.bags import BagDecisions
from snellen.auditing.checks.calibration import Calibration
from snellen.auditing.checks.certified import Certified
from snellen.auditing.checks.clean import Clean
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.auditing.checks.data_quality import DataQuality
from snellen.auditing.checks.discrimination import Discrimination
from snellen.auditing.checks.drift import Drift
from snellen.auditing.checks.duplicates import Duplicates
from snellen.auditing.checks.explanations import Explanations
from snellen.auditing.checks.group_gap import GroupGap
from snellen.auditing.checks.label_noise import LabelNoise
from snellen.auditing.checks.leakage import Leakage
from snellen.auditing.checks.masking import Masking
from snellen.auditing.checks.multi_label import MultiLabel
from snellen.auditing.checks.nuisance import NuisanceCheck
from snellen.auditing.checks.selective import Selective
from snellen.auditing.checks.slices import Slices
from snellen.auditing.checks.viewpoint import Viewpoint
from snellen.errors import InputError, unknown_name

#: Cheap checks first: they run and report in this order.
_IN_ORDER: tuple[type[Check], ...] = (
    Clean,
    Discrimination,
    Calibration,
    Selective,
    GroupGap,
    BagDecisions,
    Slices,
    LabelNoise,
    Duplicates,
    Leakage,
    Drift,
    DataQuality,
    Explanations,
    Background,
    Attributes,
    CommonCorruptions,
    NuisanceCheck,
    Viewpoint,
    Adversarial,
    Certified,
    Masking,
    MultiLabel,
    BackdoorCheck,
)
CHECKS: dict[str, type[Check]] = {check.name: check for check in _IN_ORDER}


def build_check(name: str, parameters: Mapping[str, Any]) -> Check:
    """Make a check from its name and parameters.

    Raises:
        UnknownNameError: no check of that name.
        InputError: parameters that the check refuses.
    """
    if name not in CHECKS:
        raise unknown_name("check", name, CHECKS)
    try:
        return CHECKS[name](**parameters)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or name}: {e['msg']}" for e in error.errors())
        raise InputError(f"parameters of the check {name}: {wrong}") from error


def default_checks() -> list[str]:
    """Names of the checks that run when none are named."""
    return [name for name, check in CHECKS.items() if check.by_default]


def resolve_checks(
    checks: Sequence[str | Mapping[str, Any] | Check] | None, threats: Sequence[str] = ()
) -> list[Check]:
    """Turn names, records (``{"check": name, **parameters}``) or check objects into checks, in running order.

    None means all that run by default. ``threats`` are declared to the check ``adversarial``, which must run then, and
    to ``masking``.

    >>> [check.name for check in resolve_checks(["adversarial"])]
    ['clean', 'adversarial']
    >>> resolve_checks([{"check": "corruption", "benchmark": "bloodmnist"}])[1].chosen[:2]
    ('pixelate', 'jpeg_compression')

    Raises:
        InputError: no check is named, or one twice; UnknownNameError for a name that is none.
    """
    if isinstance(checks, str):
        checks = [checks]
    if checks is not None and not checks:
        raise InputError(f"no check is named; leave checks out for all of them, or name some of: {', '.join(CHECKS)}")
    chosen: dict[str, Check] = {}
    for named in default_checks() if checks is None else checks:
        if isinstance(named, Mapping):
            parameters = dict(named)
            check = build_check(str(parameters.pop("check", None)), parameters)
        else:
            check = build_check(named, {}) if isinstance(named, str) else named
        if check.name in chosen:
            raise InputError(f"check {check.name!r} is asked for twice")
        chosen[check.name] = check
    chosen.setdefault("clean", Clean())
    if threats:
        given = chosen.get("adversarial")
        if not isinstance(given, Adversarial):
            raise InputError(f"threats are declared ({', '.join(threats)}), but the check 'adversarial' does not run")
        chosen["adversarial"] = build_check("adversarial", {**given.model_dump(), "declared": tuple(threats)})
        if isinstance(masking := chosen.get("masking"), Masking):
            chosen["masking"] = build_check("masking", {**masking.model_dump(), "declared": tuple(threats)})
    order = [name for name in CHECKS if name in chosen]
    return [chosen[name] for name in (*order, *(name for name in chosen if name not in CHECKS))]
