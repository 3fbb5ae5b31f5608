"""Names that an audit may give figures, known before it runs: a requirement that is misspelled costs no audit."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from snellen.auditing.checks import CHECKS
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.auditing.compare.requirement import ACUITY, FINDINGS, LEVELS, Requirement
from snellen.checks.check import Check
from snellen.core.errors import InputError


def check_names(requirements: Sequence[Requirement], checks: Sequence[Check]) -> None:
    """Refuse a requirement on what this audit cannot measure, before it runs.

    >>> from snellen.auditing.compare.requirement import parse_requirement
    >>> from snellen.auditing.checks.clean import Clean
    >>> check_names([parse_requirement("clean.accurcy>=0.9")], [Clean()])
    Traceback (most recent call last):
    snellen.core.errors.InputError: requirement 'clean.accurcy>=0.9': no figure of this audit has that name; did you
    mean 'clean.accuracy' or 'clean.balanced_accuracy'?

    Raises:
        InputError: a name that is none, with the nearest ones, or one of a check that does not run.
    """
    running = {check.name: check for check in checks}
    acuities = [kind for one in checks if isinstance(one, CommonCorruptions) for kind in one.chosen]
    names = {name for check in checks for name in check.figure_names() or ()}
    names |= {f"{ACUITY}.{kind}" for kind in acuities} | {f"{FINDINGS}.{level}" for level in LEVELS}
    for requirement in requirements:
        name = requirement.name
        group = name.partition(".")[0]
        if name in names or (group in running and running[group].figure_names() is None):
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
