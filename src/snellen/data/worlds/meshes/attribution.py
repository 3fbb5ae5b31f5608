"""Whom to thank for the objects of a set of views."""

from __future__ import annotations

from collections.abc import Iterable

from snellen.data.worlds.meshes.mesh_file import MeshFile


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


def attribution_by_object(files: Iterable[MeshFile]) -> dict[str, dict[str, object]]:
    """Creator, licence and source of each object, where known: attributes of its views.

    Views of models under a licence that asks for attribution must carry it wherever they go, so it is kept with every
    image and not only with the set (see ``attributes_by_object`` of :func:`snellen.data.worlds.view_set.view_set`).

    >>> from pathlib import Path
    >>> attribution_by_object([MeshFile(object_id="cup", class_name="cup", path=Path("c.obj"), licence="CC-BY-3.0")])
    {'cup': {'licence': 'CC-BY-3.0'}}
    """
    known: dict[str, dict[str, object]] = {}
    for file in files:
        thanks = {"creator": file.creator, "licence": file.licence, "source": file.source}
        known[file.object_id] = {key: value for key, value in thanks.items() if value}
    return known
