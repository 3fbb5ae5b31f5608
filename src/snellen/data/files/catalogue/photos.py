"""Single photographs inside Python packages, with captions and the licence of each."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pyarrow as pa
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Provenance
from snellen.core.package import text
from snellen.data.files.decoding import DEFAULT_LIMITS, DecodingLimits
from snellen.data.files.file_source import FileSource

_NOT_STATED = "not stated"


class Photo(BaseModel):
    """What is known of a photograph.

    >>> known_photos()["scikit-image"]["coffee.png"].imagenet
    'espresso'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    caption: str
    kind: str = Field(description="photo, texture, microscopy, medical, astronomy or text")
    author: str
    licence: str = Field(description="as its package states it, or 'not stated'")
    imagenet: str | None = Field(None, description="a class of ImageNet that is surely in it")
    unit: str | None = Field(None, description="what two views of the same object share")

    @property
    def may_show(self) -> bool:
        """Whether it may stand in public documents, with its author named."""
        return self.licence != _NOT_STATED


@cache
def known_photos() -> dict[str, dict[str, Photo]]:
    """Package → file → what is known of it."""
    rows = tomllib.loads(text("data/files/catalogue/photos.toml"))
    return {package: {file: Photo(**row) for file, row in files.items()} for package, files in rows.items()}


def load_photos(
    folders: Mapping[str, Path], *, limits: DecodingLimits = DEFAULT_LIMITS, name: str = "photos"
) -> ImageSet:
    """Read photographs by the list of those known; there are no classes.

    Columns: id ("scikit-image/coffee.png"), unit_id, group (kind), caption, attributes (JSON: author, licence,
    may_show, imagenet, package), provenance. A file that is not there stays in the set: reading it raises.

    Args:
        folders: package ("scikit-image", "scikit-learn") → folder of its photographs.
        limits: what is refused.
        name: shown in reports.

    Raises:
        InputError: a package without known photographs, or no package.
    """
    known = known_photos()
    unknown = next((package for package in folders if package not in known), None)
    if unknown is not None or not folders:
        raise InputError(f"photographs are known of {' and '.join(known)}; got {unknown or 'no package'}")
    rows = [(package, file, photo) for package in sorted(folders) for file, photo in known[package].items()]
    sources = {package: FileSource(folder, tuple(known[package]), limits=limits) for package, folder in folders.items()}
    ids = [f"{package}/{file}" for package, file, _ in rows]
    made = Provenance(origin="real").model_dump_json(exclude_none=True)
    values: dict[str, list[object]] = {
        "id": list(ids),
        "unit_id": [photo.unit or file.partition(".")[0] for _, file, photo in rows],
        "group": [photo.kind for _, _, photo in rows],
        "caption": [photo.caption for _, _, photo in rows],
        "attributes": [_attributes(package, photo) for package, _, photo in rows],
        "provenance": [made] * len(rows),
    }
    table = pa.table({column: pa.array(listed, COLUMNS[column]) for column, listed in values.items()})
    return ImageSet(_Photos([sources[package] for package in sorted(folders)]), table, None, name)


class _Photos:
    """Files of several folders, one folder after the other."""

    def __init__(self, folders: list[FileSource]) -> None:
        self._rows = [(folder, row) for folder in folders for row in range(len(folder.paths))]

    def read(self, index: int) -> Image.Image:
        """Decode one photograph to RGB. Raises RejectedImageError with the reason when it cannot."""
        folder, row = self._rows[index]
        return folder.read(row)

    def content_hash(self, index: int) -> str:
        """Hash of the file's bytes (sha256, hex)."""
        folder, row = self._rows[index]
        return folder.content_hash(row)


def _attributes(package: str, photo: Photo) -> str:
    described = {
        "package": package,
        "author": photo.author,
        "licence": photo.licence,
        "may_show": photo.may_show,
        "imagenet": photo.imagenet,
    }
    return json.dumps(described, ensure_ascii=False)
