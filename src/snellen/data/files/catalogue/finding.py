"""Where the files of a known set lie on this machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from snellen.core.errors import InputError
from snellen.data.files.catalogue.file_sums import stored_sums
from snellen.data.files.catalogue.known_set import KnownSet, PackageSource


def find_source(source: PackageSource, *, path: Path | None = None) -> Path | None:
    """Folder of the files of a package: the first place that holds the first file of its list; None where none does.

    No Python package is imported for that.

    Args:
        source: the package.
        path: look here, or in the package's folder below here, and nowhere else.
    """
    first = next(iter(stored_sums(source.sums)))
    return next((folder for folder in _places(source, path) if (folder / first).is_file()), None)


def find_set(known: KnownSet, *, path: Path | None = None, verify: bool = True) -> tuple[Path, ...]:
    """Folders of the files of a set, one for each of its packages.

    Args:
        known: the set.
        path: a folder with the files of at least one of the packages (a file stands for its folder); the others are
            looked for where they install to.
        verify: False takes ``path`` for the only package of a set even if it does not hold the first file of its list.

    Raises:
        InputError: a package is not installed; the message has the command.
    """
    if path is not None and not path.exists():
        raise InputError(f"there is nothing at {path}; give the folder that holds the files of {known.title}")
    given = None if path is None else path if path.is_dir() else path.parent
    below = [None if given is None else find_source(source, path=given) for source in known.sources]
    if given is not None and not verify and len(below) == 1 and below[0] is None:
        return (given,)
    if given is not None and not any(below):
        firsts = " or ".join(next(iter(stored_sums(source.sums))) for source in known.sources)
        raise InputError(f"{path} does not hold the files of {known.title}: expected {firsts} in it")
    folders = [
        folder or find_source(source) or _missing(known, source)
        for folder, source in zip(below, known.sources, strict=True)
    ]
    return tuple(folders)


def _missing(known: KnownSet, source: PackageSource) -> Path:
    looked = ", ".join(str(folder) for folder in _places(source, None)) or f"the Python package {source.module}"
    raise InputError(
        f"{known.title} is not installed: its files come with {source.package} ({source.registry}); install it with: "
        f"{source.install} — or give the folder that holds them as path. Looked in {looked}"
    )


def _places(source: PackageSource, path: Path | None) -> Iterator[Path]:
    if path is not None:
        yield path
        yield path / source.inside
        return
    if source.module is not None:
        found = importlib.util.find_spec(source.module)
        for folder in (found.submodule_search_locations or []) if found is not None else []:
            yield Path(folder) / source.inside
    yield from (Path(place) for place in source.places)
