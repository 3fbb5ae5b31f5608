"""The checks, by name. ``clean`` always runs: every other check is compared with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from snellen.auditing.checks.adversarial import Adversarial
from snellen.auditing.checks.clean import Clean
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.auditing.checks.masking import Masking
from snellen.checks.check import Check
from snellen.core import index
from snellen.core.errors import InputError, unknown_name
from snellen.core.refused_values import refused_values


class _Checks(Mapping[str, type[Check]]):
    """Checks by name; the module of one is imported when it is used."""

    def __getitem__(self, name: str) -> type[Check]:
        check: type[Check] = index.checks()[name].load()
        return check

    def __iter__(self) -> Iterator[str]:
        return iter(index.checks())

    def __len__(self) -> int:
        return len(index.checks())


#: Cheap checks first: they run and report in this order.
CHECKS: Mapping[str, type[Check]] = _Checks()


def build_check(name: str, parameters: Mapping[str, Any]) -> Check:
    """Make a check from its name and parameters.

    Raises:
        UnknownNameError: no check of that name.
        InputError: parameters that the check refuses.
    """
    if name not in CHECKS:
        raise unknown_name("check", name, CHECKS)
    try:
        return CHECKS[name].model_validate(parameters)
    except ValidationError as error:
        known = CHECKS[name].model_fields
        raise InputError(f"parameters of the check {name}: {refused_values(error, name, known=known)}") from error


#: Task of a model → the check that every other is compared with, where it is not "clean".
BASES: Mapping[str, str] = {"segment": "segmentation", "multilabel": "labels"}


def base_check(task: str) -> str:
    """Name of the check that always runs on models of a task, since every other is compared with it.

    >>> base_check("single"), base_check("segment")
    ('clean', 'segmentation')
    """
    return BASES.get(task, "clean")


def default_checks(task: str = "single") -> list[str]:
    """Names of the checks that run on models of a task when none are named."""
    base = base_check(task)
    return [  # the index names those that do not run; it does not know those of checks that were registered
        name
        for name, entry in index.checks().items()
        if name == base or (entry.effort != "full" and entry.load().by_default)
    ]


def with_parameters(
    checks: Sequence[str | Mapping[str, Any] | Check], name: str, given: Mapping[str, Any], needed: str
) -> list[str | Mapping[str, Any] | Check]:
    """The same checks, one of them with parameters that an argument of the audit gives.

    >>> with_parameters(["clean", "discrimination"], "discrimination", {"prevalence": 0.1}, "a prevalence")
    ['clean', {'check': 'discrimination', 'prevalence': 0.1}]

    Args:
        checks: as a call names them.
        name: of the check.
        given: its parameters.
        needed: what the argument is, for messages.

    Raises:
        InputError: the check does not run, or has other values already.
    """
    found: list[str | Mapping[str, Any] | Check] = []
    met = False
    for one in checks:
        own = one.name if isinstance(one, Check) else one if isinstance(one, str) else str(one.get("check"))
        if own != name:
            found.append(one)
            continue
        met = True
        if isinstance(one, Check):
            held = one.model_dump(exclude_unset=True)
        else:
            held = {} if isinstance(one, str) else {key: value for key, value in one.items() if key != "check"}
        twice = [key for key in given if held.get(key) not in (None, given[key])]
        if twice:
            raise InputError(f"{needed} comes twice: by itself, and as {name}.{twice[0]}; give one of them")
        found.append({"check": name, **held, **given})
    if not met and name == base_check("single"):
        return [{"check": name, **given}, *found]
    if not met:
        raise InputError(f"{needed} is of the check {name!r}, which does not run; add it: checks=+{name}")
    return found


def resolve_checks(
    checks: Sequence[str | Mapping[str, Any] | Check] | None,
    threats: Sequence[str] = (),
    task: str = "single",
    domain: str | None = None,
) -> list[Check]:
    """Turn names, records (``{"check": name, **parameters}``) or check objects into checks, in running order.

    None means all that run by default. ``threats`` are declared to the check ``adversarial``, which must run then, and
    to ``masking``. A ``domain`` is declared to the check ``corruption``, which must run then. The base of the task is
    among them, named or not.

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
    for named in default_checks(task) if checks is None else checks:
        if isinstance(named, Mapping):
            parameters = dict(named)
            if "check" not in parameters:
                raise InputError(
                    f"a check with parameters names itself by the key 'check', as in "
                    f'{{"check": "corruption", "severities": [1]}}; got the keys {", ".join(map(repr, parameters))}'
                )
            check = build_check(str(parameters.pop("check")), parameters)
        else:
            check = build_check(named, {}) if isinstance(named, str) else named
        if check.name in chosen:
            raise InputError(f"check {check.name!r} is requested twice")
        chosen[check.name] = check
    chosen.setdefault("clean", Clean())
    if base_check(task) not in chosen:
        chosen[base_check(task)] = build_check(base_check(task), {})
    if threats:
        given = chosen.get("adversarial")
        if not isinstance(given, Adversarial):
            raise InputError(f"threats are declared ({', '.join(threats)}), but the check 'adversarial' does not run")
        fields = given.model_dump(exclude_unset=True)
        chosen["adversarial"] = build_check("adversarial", {**fields, "declared": tuple(threats)})
        if isinstance(masking := chosen.get("masking"), Masking):
            fields = masking.model_dump(exclude_unset=True)
            chosen["masking"] = build_check("masking", {**fields, "declared": tuple(threats)})
    if domain is not None:
        damage = chosen.get("corruption")
        if not isinstance(damage, CommonCorruptions) or task not in damage.tasks:
            raise InputError(
                f"the domain {domain} is declared, and it decides what the check 'corruption' measures, which does not "
                f"run here; leave the domain out, or add the check (--checks=+corruption)"
            )
        fields = damage.model_dump(exclude_unset=True)
        chosen["corruption"] = build_check("corruption", {**fields, "domain": domain})
    order = [name for name in CHECKS if name in chosen]
    return [chosen[name] for name in (*order, *(name for name in chosen if name not in CHECKS))]
