"""The methods of an area under their class names: ``from snellen.attacks import PGD``, imported on use."""

from __future__ import annotations

from collections.abc import Callable

from snellen.core import index


def methods_by_class(module: str, area: str) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a module that offers the methods of an area by the names of their classes.

    >>> find, names = methods_by_class("snellen.attacks", "attacks")
    >>> "PGD" in names(), find("PGD").name
    (True, 'pgd')

    Methods of plugins and of :func:`snellen.register` are among them. Other names of a method are known and not listed:

    >>> find("AutoAttack").__name__
    'StandardEnsemble'
    """

    def find(name: str) -> object:
        for entry in index.methods(area).values():
            if entry.class_name == name:
                return entry.load()
        for entry in index.methods(area).values():
            if index.normalise(name) in map(index.normalise, entry.aliases):
                return entry.load()
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted(entry.class_name for entry in index.methods(area).values())

    return find, names
