"""Which methods, checks and systems exist, without importing any of them.

Textbook methods stand in a ``methods.toml`` beside their modules: one table per method, ``target = "module:Class"``,
``summary`` and ``aliases``. A published system stands in ``systems/NAME/system.toml``, with its own methods
(``[methods.AREA.NAME]``) and checks (``[checks.NAME]``). Third parties add methods by an entry point in the group
``snellen.AREA`` (name → module:Class). A name or alias that occurs twice in an area is an error.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from snellen.core import package
from snellen.core.errors import InputError, UnknownNameError, unknown_name
from snellen.core.formats import SYSTEM

#: The verb of each area.
AREAS: dict[str, str] = {
    "attacks": "attack",
    "shifts": "shift",
    "certificates": "certify",
    "explanations": "explain",
    "scans": "scan",
    "recipes": "fit",
    "treatments": "treat",
    "synthesis": "generate",
    "generation": "generate",
    "forgetting": "forget",
    "architecture_search": "search",
    "worlds": "images",
    "defects": "plant",
}

#: What an area's methods are called in errors, where that is not the verb.
_NOUNS = {
    "certificates": "certificate",
    "defects": "defect",
    "explanations": "explanation",
    "forgetting": "unlearning method",
    "generation": "method that generates",
    "recipes": "recipe",
    "synthesis": "way to condition a data set",
    "treatments": "treatment",
    "worlds": "world",
}

#: Room of the textbook methods of an area; every other area has methods of systems alone.
_ROOMS = {
    "attacks": "methods/attacks",
    "shifts": "methods/corruptions",
    "certificates": "methods/smoothing",
    "explanations": "methods/explanations",
    "recipes": "methods/recipes",
    "treatments": "methods/treatments",
    "generation": "methods/generation",
    "synthesis": "methods/synthesis",
    "scans": "methods/scans",
    "worlds": "data/worlds",
    "defects": "data/worlds/planting",
    "forgetting": "methods/forgetting",
}

#: File of the audit's own checks.
_CHECKS = "auditing/checks/checks.toml"

#: File of the architectures of no system.
_ARCHITECTURES = "models/classifiers/architectures.toml"


# Plain dataclasses: pydantic would take a third of the time of ``snellen --help``.
@dataclass(frozen=True, kw_only=True)
class Target:
    """Something that is imported when it is used: ``module:attribute``."""

    target: str

    def load(self) -> Any:  # noqa: ANN401 - an attribute of any type
        """Import the module and return the attribute."""
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True, kw_only=True)
class MethodEntry(Target):
    """One method of an area."""

    name: str
    area: str
    summary: str = ""
    aliases: tuple[str, ...] = ()
    kinds: str = ""  # module:function that gives the kinds of its field ``kind``, by benchmark
    registered: Any = field(default=None, repr=False)  # the class itself, where no module holds it

    @property
    def class_name(self) -> str:
        """Name of the method's class."""
        return self.target.partition(":")[2]

    def load(self) -> type[Any]:
        """Import the method class."""
        loaded: type[Any] = super().load() if self.registered is None else self.registered
        return loaded


@dataclass(frozen=True, kw_only=True)
class CheckEntry(Target):
    """One check of an audit.

    Attributes:
        order: checks run and report in ascending order, cheap ones first; the audit's own are multiples of ten.
        finds: kinds of its findings.
        compared: the figure behind its findings, whose intervals two audits are compared by: ``check.lost``, or
            ``check.{name}.lost`` for a finding ``kind:NAME``; by kind where there are several; None where the
            comparison has a test of its own, or none.
        of_images: whether its figures ``KIND.STRENGTH.accuracy`` are means over the audited images, which its evidence
            pairs.
        listed: whether it runs the model at the end, and its rows lie in a list instead of the evidence.
        effort: the least effort of an audit that runs it: ``quick``, ``standard``, or ``full`` for a check whose class
            says that it does not run by default.
        meanings: what its figures are, by the rest of their names: see :mod:`snellen.auditing.figure_meanings`. Those
            of the audit's own checks stand in a file of their own.
    """

    name: str
    order: int
    finds: tuple[str, ...] = ()
    compared: str | Mapping[str, str] | None = None
    of_images: bool = False
    listed: bool = False
    effort: str = "standard"
    meanings: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    registered: Any = field(default=None, repr=False)  # the class itself, where no module holds it

    @property
    def figures(self) -> Mapping[str, str]:
        """Kinds of its findings → the figures by which they are compared."""
        if self.compared is None:
            return {}
        return {self.finds[0]: self.compared} if isinstance(self.compared, str) else self.compared

    def load(self) -> type[Any]:
        """Import the check's class."""
        loaded: type[Any] = super().load() if self.registered is None else self.registered
        return loaded


@dataclass(frozen=True, kw_only=True)
class ArchitectureEntry(Target):
    """A network that the card of an artifact may name; further fields of the card are arguments of the target.

    Attributes:
        feature_layer: the pooled layer before the last linear one.
        sized: whether it is made for images of one size, its argument ``side``.
    """

    name: str
    feature_layer: str | None = None
    sized: bool = False


@dataclass(frozen=True, kw_only=True)
class CommandEntry(Target):
    """A subcommand that a system adds to the group of a verb; ``target`` is the function behind it.

    Attributes:
        method: AREA.NAME of the method whose fields are options of the command.
        hidden: fields of the method that the function has options of its own for.
    """

    name: str
    group: str
    method: str
    hidden: tuple[str, ...] = ()


#: Methods that were registered in this process, by area.
_REGISTERED: dict[str, dict[str, MethodEntry]] = {}


def add_method(area: str, method: type[Any]) -> MethodEntry:
    """Add a method class to an area for the life of this process; a class registered before under its name gives way.

    Raises:
        InputError: the area has another method of that name or alias.
    """
    name = normalise(str(method.name))
    summary = (method.__doc__ or "").strip().partition("\n")[0]
    added = MethodEntry(
        name=name, area=area, target=f"{method.__module__}:{method.__qualname__}", summary=summary, registered=method
    )
    before = _REGISTERED.get(area, {}).pop(name, None)
    methods.cache_clear()
    try:
        entry(area, name)
    except UnknownNameError:
        _REGISTERED.setdefault(area, {})[name] = added
        return added
    finally:
        methods.cache_clear()
    if before is not None:
        _REGISTERED[area][name] = before
    raise InputError(f"{area} has a method {name!r} already; give {method.__qualname__} another name")


#: Checks that were registered in this process.
_REGISTERED_CHECKS: dict[str, CheckEntry] = {}


def add_check(name: str, check: type[Any]) -> CheckEntry:
    """Add a check class for the life of this process; it runs after all others.

    Raises:
        InputError: the package has a check of that name.
    """
    if name in checks() and name not in _REGISTERED_CHECKS:
        raise InputError(f"there is a check {name!r} already; give {check.__qualname__} another name")
    order = 1000 + len(_REGISTERED_CHECKS)
    target = f"{check.__module__}:{check.__qualname__}"
    added = CheckEntry(name=name, order=order, target=target, registered=check)
    _REGISTERED_CHECKS[name] = added
    checks.cache_clear()
    return added


def normalise(name: str) -> str:
    """Command-line spelling to index spelling: lower case, underscores.

    >>> normalise("Dual-Smoothing")
    'dual_smoothing'
    """
    return name.strip().lower().replace("-", "_").replace(" ", "_").replace("/", "_")


@cache
def system_tables() -> Mapping[str, Mapping[str, Any]]:
    """Content of every ``system.toml`` by the name of its folder, sorted."""
    found = {}
    for path in sorted((package.root() / "systems").glob("*/system.toml")):
        try:
            found[path.parent.name] = SYSTEM.read(tomllib.loads(path.read_text(encoding="utf-8")), path)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path}: not a system description: {error}") from error
    return found


def _rows(kind: str, own: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Rows of one kind, by name: the package's own, and those that systems state below ``keys``.

    Raises:
        InputError: two of one name.
    """
    rows = dict(own)
    for system, table in system_tables().items():
        below: Mapping[str, Any] = table
        for key in keys:
            below = below.get(key, {})
        for name, row in below.items():
            if name in rows:
                raise InputError(f"two {kind} are named {name!r}; one of them is of the system {system}")
            rows[name] = row
    # Lists of a file are tuples of an entry.
    return {
        name: {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
        for name, row in rows.items()
    }


@cache
def methods(area: str) -> Mapping[str, MethodEntry]:
    """All methods of an area by name, sorted, those of plugins last (aliases not included)."""
    if area not in AREAS:
        raise unknown_name("area", area, AREAS)
    own = tomllib.loads(package.text(f"{_ROOMS[area]}/methods.toml")) if area in _ROOMS else {}
    rows = _rows(f"{area} methods", own, "methods", area)
    found = {name: MethodEntry(name=name, area=area, **rows[name]) for name in sorted(rows)}
    for point in entry_points(group=f"snellen.{area}"):
        if point.name in found:
            targets = f"{found[point.name].target}, {point.value}"
            raise InputError(f"two methods are named {point.name!r} in {area}: {targets}")
        found[point.name] = MethodEntry(name=point.name, area=area, target=point.value)
    found |= _REGISTERED.get(area, {})
    taken: dict[str, str] = {}
    for entry in found.values():
        for spelling in (entry.name, *entry.aliases):
            if taken.setdefault(normalise(spelling), entry.name) != entry.name:
                raise InputError(f"{spelling!r} names both {taken[normalise(spelling)]} and {entry.name} in {area}")
    return found


def entry(area: str, name: str) -> MethodEntry:
    """Find a method by name or alias.

    Raises:
        UnknownNameError: no such method; the message lists near names.
    """
    spellings = {normalise(s): e for e in methods(area).values() for s in (e.name, *e.aliases)}
    if normalise(name) not in spellings:
        for method in methods(area).values():
            if (of := _benchmark_of_kind(method, normalise(name))) is not None:
                raise UnknownNameError(
                    f"{name!r} is a kind of {method.name}, and no method of its own: write {method.name} --kind {name}"
                    f"{of}, or {{'method': {method.name!r}, 'kind': {name!r}}} in Python"
                )
        raise unknown_name(_NOUNS.get(area, AREAS[area]), name, methods(area), spellings)
    return spellings[normalise(name)]


def _benchmark_of_kind(method: MethodEntry, kind: str) -> str | None:
    """The option of the benchmark that has a kind, empty for the usual one; None where the method has no such kind."""
    if not method.kinds:
        return None
    kinds: Mapping[str, tuple[str, ...]] = Target(target=method.kinds).load()()
    names = [benchmark for benchmark, own in kinds.items() if kind.replace("-", "_") in own]
    usual = next(iter(kinds))
    return None if not names else "" if usual in names else f" --benchmark {names[0]}"


@cache
def checks() -> Mapping[str, CheckEntry]:
    """The checks of an audit by name, in the order in which they run: the audit's own and those of systems."""
    rows = _rows("checks", tomllib.loads(package.text(_CHECKS)), "checks")
    found = [*(CheckEntry(name=name, **row) for name, row in rows.items()), *_REGISTERED_CHECKS.values()]
    return {one.name: one for one in sorted(found, key=lambda one: (one.order, one.name))}


@cache
def architectures() -> Mapping[str, ArchitectureEntry]:
    """Networks that the card of an artifact may name, sorted by name."""
    rows = _rows("architectures", tomllib.loads(package.text(_ARCHITECTURES)), "architectures")
    return {name: ArchitectureEntry(name=name, **rows[name]) for name in sorted(rows)}


@cache
def heads() -> Mapping[str, Target]:
    """Heads on the vectors of a frozen encoder by their name in a card, sorted.

    Each takes the length of a vector and the width of its hidden layer, and arguments of its own.
    """
    rows = _rows("heads", {"instance": {"target": "snellen.models.encoders.head_on_encoder:InstanceHead"}}, "heads")
    return {name: Target(**rows[name]) for name in sorted(rows)}


@cache
def commands(group: str) -> Mapping[str, CommandEntry]:
    """Subcommands that systems add to the group of a verb, by name."""
    rows = _rows(f"subcommands of {group}", {}, "commands", group)
    return {name: CommandEntry(name=name, group=group, **row) for name, row in rows.items()}


def form(verb: str, name: str) -> Target:
    """How a verb runs over another form of data than images, such as views of objects (``[forms.VERB.NAME]``).

    Raises:
        UnknownNameError: no system has such a form.
    """
    rows = _rows(f"forms of {verb}", {}, "forms", verb)
    if name not in rows:
        raise unknown_name(f"form of {verb}", name, rows)
    return Target(**rows[name])
