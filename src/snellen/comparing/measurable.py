"""Names that an audit may give figures, known before it runs: a requirement that is misspelled costs no audit."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from snellen.attribute_edits.published import SETTINGS
from snellen.auditing.attribute_loss import CONTROL
from snellen.auditing.check import Check
from snellen.auditing.checks import CHECKS
from snellen.auditing.checks.adversarial import Adversarial
from snellen.auditing.checks.attributes import Attributes
from snellen.auditing.checks.bags import BagDecisions
from snellen.auditing.checks.calibration import Calibration
from snellen.auditing.checks.certified import Certified
from snellen.auditing.checks.clean import Clean
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.auditing.checks.discrimination import Discrimination
from snellen.auditing.checks.group_gap import GroupGap
from snellen.auditing.checks.selective import Selective
from snellen.auditing.checks.viewpoint import Viewpoint
from snellen.comparing.requirement import ACUITY, FINDINGS, LEVELS, Requirement
from snellen.errors import InputError


def measurable(check: Check) -> frozenset[str] | None:
    """Every name of a figure that a check may give; None for a check of which only the first part is known.

    >>> sorted(measurable(Clean()))
    ['clean.accuracy', 'clean.balanced_accuracy']
    """
    names: Iterable[str]
    if isinstance(check, Clean):
        names = ("accuracy", "balanced_accuracy")
    elif isinstance(check, Discrimination):
        names = ("auroc", "sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value")
    elif isinstance(check, Calibration):
        names = ("ece", "adaptive_ece", "brier", "nll", "ece_with_temperature")
    elif isinstance(check, Selective):
        names = ("aurc", "coverage")
    elif isinstance(check, GroupGap):
        names = ("worst_accuracy",)
    elif isinstance(check, BagDecisions):
        names = ("auroc", "accuracy", "sensitivity", "specificity")
        names = (*names, "instance_auroc", "positives_found", "false_in_negative_bags")
    elif isinstance(check, CommonCorruptions):
        names = ("clean_error", "error", *(("mce", "relative_mce") if check.reference is not None else ()))
        names = (*names, *(f"{kind}.error" for kind in check.chosen))
        names = (*names, *(f"{kind}.{s:g}.accuracy" for kind in check.chosen for s in check.severities))
    elif isinstance(check, Attributes):
        names = (f"{kind}.{s:g}.accuracy" for kind in (CONTROL, *check.chosen) for s in check.severities)
        names = (*names, *(f"{one}.lost" for one in dict.fromkeys(SETTINGS[kind].attribute for kind in check.chosen)))
    elif isinstance(check, Viewpoint):
        seen = ("natural", "random", "worst_region", *(("attacked",) if check.attacked else ()))
        names = ("lost", *(f"{views}.accuracy" for views in seen))
    elif isinstance(check, Certified):
        names = ("accuracy", "abstentions", "average_radius")
    elif isinstance(check, Adversarial):
        names = [f"{threat.label}{attack}.accuracy" for threat in check.tried for attack in ("", ".fgsm")]
    else:
        return None
    return frozenset(f"{check.name}.{name}" for name in names)


def check_names(requirements: Sequence[Requirement], checks: Sequence[Check]) -> None:
    """Refuse a requirement on what this audit cannot measure, before it runs.

    >>> from snellen.comparing.requirement import parse_requirement
    >>> check_names([parse_requirement("clean.accurcy>=0.9")], [Clean()])
    Traceback (most recent call last):
    snellen.errors.InputError: requirement 'clean.accurcy>=0.9': no figure of this audit has that name; did you mean
    'clean.accuracy' or 'clean.balanced_accuracy'?

    Raises:
        InputError: a name that is none, with the nearest ones, or one of a check that does not run.
    """
    running = {check.name: check for check in checks}
    acuities = [kind for one in checks if isinstance(one, CommonCorruptions) for kind in one.chosen]
    names = {name for check in checks for name in measurable(check) or ()}
    names |= {f"{ACUITY}.{kind}" for kind in acuities} | {f"{FINDINGS}.{level}" for level in LEVELS}
    for requirement in requirements:
        name = requirement.name
        group = name.partition(".")[0]
        if name in names or (group in running and measurable(running[group]) is None):
            continue
        owner = "corruption" if group == ACUITY else group
        if owner in CHECKS and owner not in running:
            raise InputError(
                f"requirement {str(requirement)!r}: the check {owner} does not run in this audit; it runs "
                f"{', '.join(running)}"
            )
        near = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"these are: {_listed(sorted(names))}"
        raise InputError(f"requirement {str(requirement)!r}: no figure of this audit has that name; {hint}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
