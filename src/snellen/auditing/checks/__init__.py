"""The checks, by name. ``clean`` always runs: every other check is compared with it."""

from __future__ import annotations

from collections.abc import Sequence

from snellen.auditing.check import Check
from snellen.auditing.checks.adversarial import Adversarial
from snellen.auditing.checks.clean import Clean
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.errors import InputError, unknown_name

#: Cheap checks first: they run and report in this order.
CHECKS: dict[str, type[Check]] = {check.name: check for check in (Clean, CommonCorruptions, Adversarial)}


def resolve_checks(checks: Sequence[str | Check] | None) -> list[Check]:
    """Turn names or check objects into checks, in running order; None means all.

    >>> [check.name for check in resolve_checks(["adversarial"])]
    ['clean', 'adversarial']

    Raises:
        InputError: no check is named, or one twice; UnknownNameError for a name that is none.
    """
    if isinstance(checks, str):
        checks = [checks]
    if checks is not None and not checks:
        raise InputError(f"no check is named; leave checks out for all of them, or name some of: {', '.join(CHECKS)}")
    chosen: dict[str, Check] = {}
    for named in CHECKS if checks is None else checks:
        if isinstance(named, str) and named not in CHECKS:
            raise unknown_name("check", named, CHECKS)
        check = CHECKS[named]() if isinstance(named, str) else named
        if check.name in chosen:
            raise InputError(f"check {check.name!r} is asked for twice")
        chosen[check.name] = check
    chosen.setdefault("clean", Clean())
    order = [name for name in CHECKS if name in chosen]
    return [chosen[name] for name in (*order, *(name for name in chosen if name not in CHECKS))]
