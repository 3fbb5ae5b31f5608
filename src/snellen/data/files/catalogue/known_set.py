"""The rows of the catalogue: what a real image set is, which packages bring its files, and where these lie."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from snellen.core import package
from snellen.core.errors import InputError, RejectedImageError, unknown_name
from snellen.core.images import Split
from snellen.core.package import text
from snellen.data.files.contained_file import read_file


class PackageSource(BaseModel):
    """A package that brings files of a set, and where it puts them.

    >>> known_set("digits").sources[0].install
    'pip install scikit-learn'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    package: str
    registry: Literal["Debian", "PyPI", "npm"]
    version: str = Field(description="the version whose files the stored checksums are of")
    install: str = Field(description="the command that installs it")
    module: str | None = Field(None, description="top-level Python module below which the files lie")
    inside: str = Field(".", description="folder of the files below the module, or below a path given instead")
    places: tuple[str, ...] = Field((), description="folders the package installs to; relative to the working folder")
    sums: str = Field(description="list of the files and their sha256, in the folder digests")
    max_file_bytes: int = Field(ge=1, description="larger files are refused unread")


class KnownSet(BaseModel):
    """A real image set.

    >>> known_set("fashion-mnist").licence
    'MIT'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    what: str = Field(description="what the pictures honestly are")
    format: Literal["idx", "pixel-csv", "photos", "stamps", "emoji"]
    licence: str
    citation: str
    may_show: bool = Field(description="whether pictures may stand in public documents; see the licence for how")
    may_ship: bool = Field(description="whether files may be put into a package under the Apache licence")
    splits: tuple[Split, ...] = Field((), description="splits that the set comes in; none for most")
    class_names: tuple[str, ...] | None = None
    side: int | None = Field(None, description="edge of the pictures of a table of pixels")
    largest: int | None = Field(None, description="value of white in a table of pixels")
    sources: tuple[PackageSource, ...] = Field(min_length=1)


@cache
def known_sets_by_name() -> dict[str, KnownSet]:
    """All rows of the catalogue, in its order."""
    rows = tomllib.loads(text("data/files/catalogue/catalogue.toml"))
    return {name: KnownSet(name=name, **row) for name, row in rows.items()}


def known_set(name: str) -> KnownSet:
    """One row of the catalogue.

    Raises:
        UnknownNameError: no such set; the message lists the nearest names.
    """
    rows = known_sets_by_name()
    if name not in rows:
        raise unknown_name("real image set", name, rows)
    return rows[name]


_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


@cache
def stored_sums(name: str) -> dict[str, str]:
    """Path relative to the folder of the files → sha256 (hex), in the order of the list.

    >>> list(stored_sums("digits.sha256"))
    ['digits.csv.gz']
    """
    return read_sums(package.text(f"data/files/catalogue/digests/{name}"))


def read_sums(text: str) -> dict[str, str]:
    r"""Read what ``sha256sum`` writes.

    >>> read_sums("0" * 64 + "  a/b.png\n")["a/b.png"][:4]
    '0000'

    Raises:
        InputError: another kind of line.
    """
    sums = {}
    for line in text.splitlines():
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise InputError(f"a line of checksums is 64 hexadecimal digits, two spaces and a path; got {line[:80]!r}")
        sums[parts[2]] = parts[1]
    return sums


def check_sums(root: Path, sums: Mapping[str, str], *, max_file_bytes: int, version: str) -> None:
    """Read every listed file once and compare.

    Args:
        root: folder of the files; none may lie outside of it.
        sums: as :func:`read_sums`.
        max_file_bytes: larger files are refused unread.
        version: what the checksums are of, for the message.

    Raises:
        InputError: a file is missing, cannot be read, is too large or is another one; the message names it.
    """
    for relative, expected in sums.items():
        try:
            found = hashlib.sha256(read_file(root, relative, max_file_bytes)).hexdigest()
        except RejectedImageError as error:
            raise InputError(f"{root / relative}: {error}; expected the file of {version}") from error
        if found != expected:
            raise InputError(
                f"{root / relative} is not the file of {version}: its sha256 is {found}, expected {expected}; install "
                f"that version, or pass verify=False to take the files as they are"
            )


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
    searched = ", ".join(str(folder) for folder in _places(source, None)) or f"the Python package {source.module}"
    raise InputError(
        f"{known.title} is not installed: its files come with {source.package} ({source.registry}); install it with: "
        f"{source.install} — or give the folder that holds them as path. Looked in {searched}"
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
