"""Which methods exist, without importing any of them.

Each area package holds a ``methods.toml``: one table per method, ``target = "module:Class"``, ``summary`` and
``aliases``. Third parties add methods by an entry point in the group ``snellen.AREA`` (name → module:Class). A name or
alias that occurs twice in an area is an error.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from snellen.errors import InputError, unknown_name

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

#: Folder of an area's ``methods.toml``, where it is not called like the area.
_FOLDERS = {"worlds": "data", "defects": "data/planting"}


class MethodEntry(BaseModel):
    """One row of the index."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    area: str
    target: str
    summary: str = ""
    aliases: tuple[str, ...] = ()

    def load(self) -> type[Any]:
        """Import the method class."""
        module, _, attribute = self.target.partition(":")
        loaded: type[Any] = getattr(importlib.import_module(module), attribute)
        return loaded


def normalise(name: str) -> str:
    """Command-line spelling to index spelling: lower case, underscores.

    >>> normalise("Dual-Smoothing")
    'dual_smoothing'
    """
    return name.strip().lower().replace("-", "_").replace(" ", "_").replace("/", "_")


@cache
def methods(area: str) -> Mapping[str, MethodEntry]:
    """All methods of an area by name (aliases not included)."""
    if area not in AREAS:
        raise unknown_name("area", area, AREAS)
    found: dict[str, MethodEntry] = {}
    path = Path(__file__).parent / _FOLDERS.get(area, area) / "methods.toml"
    if path.is_file():
        for name, row in tomllib.loads(path.read_text(encoding="utf-8")).items():
            found[name] = MethodEntry(name=name, area=area, **row)
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
