"""Which mesh files there are, what they show, and whom to thank."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from snellen.core.errors import InputError
from snellen.data.worlds.meshes.mesh import UpAxis

#: Ending of a file → axis that points up in such files, by their makers' habit.
UP_OF_SUFFIX: dict[str, UpAxis] = {".obj": "y", ".glb": "y", ".ply": "z", ".stl": "z"}


@dataclass(frozen=True, kw_only=True)
class MeshFile:
    """One object.

    Args:
        object_id: id of the object.
        class_name: what it shows.
        path: file of the mesh; its textures lie below the same folder.
        up: axis that points up; None: by the file's ending (:data:`UP_OF_SUFFIX`).
        rotation: nine numbers, row by row, of a rotation applied before, in the axes of the file.
        creator: who made it.
        licence: under which it is published.
        source: name of the collection that it is from.
    """

    object_id: str
    class_name: str
    path: Path
    up: UpAxis | None = None
    rotation: tuple[float, ...] | None = None
    creator: str | None = None
    licence: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        if self.path.suffix.lower() not in UP_OF_SUFFIX:
            known = ", ".join(sorted(UP_OF_SUFFIX))
            raise InputError(f"{self.path.name}: meshes are read from {known}; convert it to one of these")
        if self.rotation is not None and len(self.rotation) != 9:
            raise InputError(f"{self.object_id}: a rotation has nine numbers, got {len(self.rotation)}")

    @property
    def up_axis(self) -> UpAxis:
        """Axis that points up."""
        return self.up or UP_OF_SUFFIX[self.path.suffix.lower()]


def mesh_files(folder: Path, *, up: UpAxis | None = None) -> tuple[MeshFile, ...]:
    """The meshes below a folder, in the order of their paths.

    ``class/object.obj`` and ``class/object/anything.obj`` are of the class named by the first folder; a file in the
    folder itself is a class of its own. The id of an object is its path below ``folder`` without the ending.

    Raises:
        InputError: no such folder, no mesh below it, or two meshes that differ in their endings alone.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder that holds the mesh files")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in UP_OF_SUFFIX and path.is_file())
    if not found:
        raise InputError(f"{folder} holds no mesh file ({', '.join(sorted(UP_OF_SUFFIX))})")
    files = []
    for path in found:
        inside = path.relative_to(folder).with_suffix("")
        files.append(MeshFile(object_id=inside.as_posix(), class_name=inside.parts[0], path=path, up=up))
    checked_ids([file.object_id for file in files])
    return tuple(files)


def checked_ids(ids: Sequence[str]) -> None:
    """Raise InputError where an id occurs twice."""
    seen: set[str] = set()
    for object_id in ids:
        if object_id in seen:
            raise InputError(f"two meshes have the id {object_id!r}; ids must be unique")
        seen.add(object_id)


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

    Views of models under a licence that requires attribution must carry it wherever they go, so it is kept with every
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
