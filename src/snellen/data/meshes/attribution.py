"""Whom to thank for the objects of a set of views."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa

from snellen.data.meshes.mesh_file import MeshFile
from snellen.errors import InputError
from snellen.images import COLUMNS, ImageSet


def credit(file: MeshFile) -> str | None:
    """One line that names maker, collection and licence; None where nothing is known.

    >>> from pathlib import Path
    >>> credit(MeshFile(object_id="barrel", class_name="barrel", path=Path("b.obj"), creator="Ann", licence="CC0"))
    'barrel by Ann (CC0)'
    """
    if not (file.creator or file.licence or file.source):
        return None
    by = f" by {file.creator}" if file.creator else ""
    of = f", {file.source}" if file.source else ""
    return f"{file.object_id}{by}{of}{f' ({file.licence})' if file.licence else ''}"


def with_attribution(images: ImageSet, files: Iterable[MeshFile]) -> ImageSet:
    """The same views, whose attributes also say ``creator``, ``licence`` and ``source`` of the object (``unit_id``).

    Raises:
        InputError: a view of an object that is not among ``files``, or attributes that are not a JSON object.
    """
    known = {file.object_id: file for file in files}
    written = []
    for example_id, unit, attributes in zip(
        images.ids, images.column("unit_id"), images.column("attributes"), strict=True
    ):
        file = known.get(str(unit))
        if file is None:
            raise InputError(f"image {example_id!r} shows {unit!r}, which is not among the {len(known)} mesh files")
        record = json.loads(str(attributes)) if attributes else {}
        if not isinstance(record, dict):
            raise InputError(f"attributes of image {example_id!r} are not a JSON object: {str(attributes)[:80]}")
        thanks = {"creator": file.creator, "licence": file.licence, "source": file.source}
        record |= {key: value for key, value in thanks.items() if value}
        written.append(json.dumps(record, sort_keys=True, ensure_ascii=False))
    column = pa.array(written, COLUMNS["attributes"])
    table = images.table
    if "attributes" in table.column_names:
        table = table.set_column(table.column_names.index("attributes"), "attributes", column)
    else:
        table = table.append_column("attributes", column)
    return replace(images, table=table)
