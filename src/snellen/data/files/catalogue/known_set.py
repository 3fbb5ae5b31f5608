"""The rows of the catalogue: what a real image set is, whose it is, and which packages bring its files."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.errors import unknown_name
from snellen.core.images import Split
from snellen.core.package import text


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
