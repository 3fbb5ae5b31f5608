"""Which commands treat a finding: asked of the methods themselves."""

from __future__ import annotations

from functools import cache

from snellen.core import index

#: How a method of an area is run, for areas whose verb has a command.
COMMANDS = {"recipes": "snellen train {name} IMAGES"}


@cache
def treatments(kind: str) -> tuple[str, ...]:
    """Commands of the methods that say they treat this kind of finding.

    >>> "snellen train targeted_augmentation IMAGES" in treatments("corruption")
    True
    """
    return tuple(
        command.format(name=name)
        for area, command in COMMANDS.items()
        for name, entry in index.methods(area).items()
        if kind in entry.load().treats
    )
