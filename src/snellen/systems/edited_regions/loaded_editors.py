"""Editors of a set, one of them in memory at a time, and the hashes that distinguish them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from snellen.core.errors import InputError
from snellen.models.diffusion.editor import Editor


@dataclass
class LoadedEditors:
    """Editors, one at a time in memory: the last."""

    loads: Mapping[str, Callable[[], Editor]]
    name: str | None = None
    editor: Editor | None = None

    @property
    def names(self) -> list[str]:
        """Of all editors, in the order of their labels."""
        return list(self.loads)

    def get(self, name: str) -> Editor:
        """The editor of a name, loaded if it is not the last one."""
        if self.editor is None or name != self.name:
            self.name, self.editor = None, None  # the memory is free before the next one needs it
            self.editor = self.loads[name]()
            self.name = name
        return self.editor


def identities_of_editors(kept: LoadedEditors, given: Mapping[str, str]) -> dict[str, str | None]:
    """Hash of each editor: the given one, or its own; None where it has none."""
    if stray := sorted(set(given) - set(kept.names)):
        raise InputError(f"identities name {', '.join(stray)}; the editors are {', '.join(kept.names)}")
    found: dict[str, str | None] = {}
    for name in kept.names:
        own = None if name in given else getattr(kept.get(name), "identity", None)
        found[name] = given[name] if name in given else None if own is None else str(own())
    return found
