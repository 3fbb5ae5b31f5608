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
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from pydantic import BaseModel, ConfigDict

from snellen.core import package
from snellen.core.errors import InputError, unknown_name

#: The verb of each area.
AREAS: dict[str, str] = {
    "attacks": "attack",
    "shifts": "shift",
    "certificates": "certify",
    "explanations": "explain",
    "scans": "scan",
    "recipes": "fit",
    "synthesis": "generate",
    "generation": "generate",
    "forgetting": "forget",
    "architecture_search": "search",
    "worlds": "images",
    "defects": "plant",
}

#: What an area's methods are called in errors, where that is not the verb.
_NOUNS = {"worlds": "world", "defects": "defect", "explanations": "explanation"}

#: Room of the textbook methods of an area; every other area has methods of systems alone.
_ROOMS = {
    "attacks": "methods/attacks",
    "shifts": "methods/corruptions",
    "certificates": "methods/smoothing",
    "explanations": "methods/explanations",
    "recipes": "methods/recipes",
    "generation": "methods/generation",
    "worlds": "data/worlds",
    "defects": "data/worlds/planting",
}

#: File of the audit's own checks.
_CHECKS = "auditing/checks/checks.toml"

#: File of the architectures of no system.
_ARCHITECTURES = "models/classifiers/architectures.toml"


class Target(BaseModel):
    """Something that is imported when it is used: ``module:attribute``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str

    def load(self) -> Any:  # noqa: ANN401 - whatever the attribute is
        """Import the module and return the attribute."""
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


class MethodEntry(Target):
    """One method of an area."""

    name: str
    area: str
    summary: str = ""
    aliases: tuple[str, ...] = ()

    def load(self) -> type[Any]:
        """Import the method class."""
        loaded: type[Any] = super().load()
        return loaded


class CheckEntry(Target):
    """One check of an audit.

    Attributes:
        order: checks run and report in ascending order, cheap ones first; the audit's own are multiples of ten.
    """

    name: str
    order: int


class ArchitectureEntry(Target):
    """A network that the card of an artifact may name; further fields of the card are arguments of the target.

    Attributes:
        feature_layer: the pooled layer before the last linear one.
        sized: whether it is made for images of one size, its argument ``side``.
    """

    name: str
    feature_layer: str | None = None
    sized: bool = False


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
            found[path.parent.name] = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path}: not a system description: {error}") from error
    return found


@cache
def methods(area: str) -> Mapping[str, MethodEntry]:
    """All methods of an area by name, sorted, those of plugins last (aliases not included)."""
    if area not in AREAS:
        raise unknown_name("area", area, AREAS)
    rows: dict[str, Any] = tomllib.loads(package.text(f"{_ROOMS[area]}/methods.toml")) if area in _ROOMS else {}
    for system, table in system_tables().items():
        for name, row in table.get("methods", {}).get(area, {}).items():
            if name in rows:
                raise InputError(f"two methods are named {name!r} in {area}; one of them is of the system {system}")
            rows[name] = row
    found = {name: MethodEntry(name=name, area=area, **rows[name]) for name in sorted(rows)}
    for point in entry_points(group=f"snellen.{area}"):
        if point.name in found:
            targets = f"{found[point.name].target}, {point.value}"
            raise InputError(f"two methods are named {point.name!r} in {area}: {targets}")
        found[point.name] = MethodEntry(name=point.name, area=area, target=point.value)
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
        raise unknown_name(_NOUNS.get(area, AREAS[area]), name, methods(area), spellings)
    return spellings[normalise(name)]


@cache
def checks() -> Mapping[str, CheckEntry]:
    """The checks of an audit by name, in the order in which they run: the audit's own and those of systems."""
    rows = {name: {"name": name, **row} for name, row in tomllib.loads(package.text(_CHECKS)).items()}
    for system, table in system_tables().items():
        for name, row in table.get("checks", {}).items():
            if name in rows:
                raise InputError(f"two checks are named {name!r}; one of them is of the system {system}")
            rows[name] = {"name": name, **row}
    found = sorted((CheckEntry(**row) for row in rows.values()), key=lambda one: (one.order, one.name))
    return {one.name: one for one in found}


@cache
def architectures() -> Mapping[str, ArchitectureEntry]:
    """Networks that the card of an artifact may name, sorted by name."""
    rows: dict[str, Any] = tomllib.loads(package.text(_ARCHITECTURES))
    for table in system_tables().values():
        rows |= table.get("architectures", {})
    return {name: ArchitectureEntry(name=name, **rows[name]) for name in sorted(rows)}


def form(verb: str, name: str) -> Target:
    """How a verb runs over another form of data than images, such as views of objects (``[forms.VERB.NAME]``).

    Raises:
        UnknownNameError: no system has such a form.
    """
    rows = {
        kind: row for table in system_tables().values() for kind, row in table.get("forms", {}).get(verb, {}).items()
    }
    if name not in rows:
        raise unknown_name(f"form of {verb}", name, rows)
    return Target(**rows[name])


@cache
def commands(group: str) -> Mapping[str, CommandEntry]:
    """Subcommands that systems add to the group of a verb, by name."""
    rows = [
        (name, row)
        for table in system_tables().values()
        for name, row in table.get("commands", {}).get(group, {}).items()
    ]
    return {name: CommandEntry(name=name, group=group, **row) for name, row in rows}
