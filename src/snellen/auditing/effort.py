"""How much an audit does: three levels of checks, and names that add to a level or take away from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast, get_args

from snellen.auditing.checks import BASES, CHECKS, base_check, default_checks
from snellen.checks.check import Check
from snellen.core import index
from snellen.core.errors import InputError, unknown_name

#: ``quick``: checks that ask the model nothing beyond the clean images; ``standard``: all that run by default;
#: ``full``: all that exist, the scan for a backdoor among them, none with a bound on the images that it measures.
Effort = Literal["quick", "standard", "full"]

EFFORTS: tuple[Effort, ...] = get_args(Effort)

#: Checks as a call names them.
Named: TypeAlias = "str | Sequence[str | Mapping[str, Any] | Check]"


def checks_at(effort: Effort, task: str = "single") -> list[str]:
    """Names of the checks of a level for models of a task, in running order.

    >>> set(checks_at("quick")) < set(checks_at("standard")) < set(checks_at("full"))
    True

    Raises:
        UnknownNameError: no such level.
    """
    if effort not in EFFORTS:
        raise unknown_name("effort", effort, EFFORTS)
    if effort == "full":
        others = set(BASES.values()) - {base_check(task)}
        return [name for name in CHECKS if name not in others]
    if effort == "standard":
        return default_checks(task)
    return [name for name, entry in index.checks().items() if entry.effort == "quick" or name == base_check(task)]


def chosen_checks(
    checks: Named | None, effort: Effort | None, able: Sequence[str] | None = None, task: str = "single"
) -> Sequence[str | Mapping[str, Any] | Check]:
    """The checks that a call requests, by name where it names them.

    >>> chosen_checks("+backdoor,-slices", "quick")[-2:]
    ['data_quality', 'backdoor']
    >>> chosen_checks("clean,slices", None)
    ['clean', 'slices']

    Args:
        checks: names, with commas between them or as a list, which may hold records and check objects too. Names that
            all begin with ``+`` or ``-`` change what the effort chooses. None: what it chooses.
        effort: the level; None is ``standard``.
        able: checks that can run at all, where no model can run; None: all.
        task: of the model.

    Raises:
        InputError: nothing is named, names with a sign beside names without one, a name that is added or taken away to
            no effect, or a list of names beside an effort. UnknownNameError for a name that is none.
    """
    at = checks_at(effort or "standard", task)
    level = at if able is None else [name for name in at if name in able]
    if checks is None:
        return level
    listed = _as_list(checks)
    if not listed:
        problem = f"{checks!r} names no check" if isinstance(checks, str) else "no check is named"
        raise InputError(f"{problem}; name one or more of {', '.join(CHECKS)}, or leave checks out for all")
    signed = [_sign(one) for one in listed]
    if not any(signed):
        if effort is not None:
            raise InputError(
                f"checks are named ({_listed(listed)}), and so is the effort {effort!r}; leave one of them out, or "
                f"change the effort's checks with + and -, such as +backdoor,-slices"
            )
        return listed
    if not all(signed):
        plain = next(one for one, sign in zip(listed, signed, strict=True) if not sign)
        raise InputError(
            f"checks with + or - change those of an effort, and {_name(plain)!r} has neither; write all with a sign, "
            f"or none"
        )
    found: dict[str, str | Mapping[str, Any] | Check] = {name: name for name in level}
    for one, sign in zip(listed, signed, strict=True):
        name = _name(one)
        if name not in CHECKS:
            raise unknown_name("check", name, CHECKS)
        if sign == "-":
            if name in ("clean", base_check(task)):
                raise InputError(f"the check {name!r} always runs: every other check is compared with it")
            if found.pop(name, None) is None:
                raise InputError(f"-{name} takes nothing away: effort {effort or 'standard'!r} runs {', '.join(level)}")
        else:
            found[name] = name if isinstance(one, str) else {**cast(Mapping[str, Any], one), "check": name}
    return list(found.values())


def with_settings(
    checks: Named | None, effort: Effort | None, settings: Mapping[str, Mapping[str, Any]], task: str = "single"
) -> Named | None:
    """The same choice of checks, with parameters for some of them; as it came where there are none.

    >>> with_settings(["clean", "corruption"], None, {"corruption": {"severities": [1]}})
    ['clean', {'check': 'corruption', 'severities': [1]}]
    >>> with_settings(None, None, {"corruption": {"severities": [1]}})
    [{'check': '+corruption', 'severities': [1]}]

    Raises:
        InputError: parameters of a check that does not run; otherwise as :func:`chosen_checks`.
    """
    if not settings:
        return checks
    running = names_of(chosen_checks(checks, effort, task=task))
    unnamed = [] if base_check(task) in running else [base_check(task)]
    idle = [check for check in settings if check not in (*running, *unnamed)]
    if idle:
        raise InputError(
            f"settings (--set) name {', '.join(idle)}, no check of this audit; these are {', '.join(running)}"
        )
    listed = _as_list(checks)
    if not all(map(_sign, listed)):
        return [
            {"check": _name(one), **(one if isinstance(one, Mapping) else {}), **settings[_name(one)]}
            if _name(one) in settings
            else one
            for one in (*listed, *(name for name in unnamed if name in settings))
        ]
    return [*listed, *({"check": f"+{name}", **fields} for name, fields in settings.items())]


def left_out(effort: Effort, running: Sequence[str], task: str = "single") -> str | None:
    """One line on what a level leaves out; None where it leaves nothing out, or for a segmenter, which one check suits.

    >>> left_out("full", checks_at("full")) is None
    True
    """
    idle = [] if task == "segment" else [name for name in checks_at("full", task) if name not in running]
    return f"Effort {effort} leaves out: {', '.join(idle)}." if idle else None


def names_of(checks: Sequence[str | Mapping[str, Any] | Check]) -> list[str]:
    """The name of each."""
    return [_name(one) for one in checks]


def named_outright(checks: Named | None) -> bool:
    """Whether checks are named for themselves, and not as changes of an effort's."""
    return checks is not None and not all(map(_sign, _as_list(checks)))


def wanted_by_name(checks: Named | None) -> frozenset[str]:
    """Checks that a call names itself: none that an effort chooses, or that a setting alone brings.

    >>> sorted(wanted_by_name(["+edits", "-slices", {"check": "+background", "most": 100}]))
    ['edits']
    """
    return frozenset(
        _name(one)
        for one in _as_list(checks)
        if not isinstance(one, Check) and _sign(one) != "-" and (isinstance(one, str) or not _sign(one))
    )


def _as_list(checks: Named | None) -> list[str | Mapping[str, Any] | Check]:
    if isinstance(checks, str):
        return [one.strip() for one in checks.split(",") if one.strip()]
    return list(checks or ())


def _sign(named: object) -> str:
    text = named.get("check") if isinstance(named, Mapping) else named
    return text[0] if isinstance(text, str) and text[:1] in ("+", "-") else ""


def _name(named: str | Mapping[str, Any] | Check) -> str:
    if isinstance(named, Check):
        return named.name
    return str(named if isinstance(named, str) else named.get("check")).strip().lstrip("+-").strip()


def _listed(named: Sequence[str | Mapping[str, Any] | Check]) -> str:
    return ", ".join(names_of(named))
