"""Which objects a folder of meshes or a catalogue of furniture names, and what is known of each before it is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from snellen.core.cache_folder import writable_cache
from snellen.core.errors import InputError, unknown_name
from snellen.core.images import Split
from snellen.data.files.manifest_table import read_csv
from snellen.data.files.splits import split_of
from snellen.data.worlds.meshes.furniture_catalogue import furniture_meshes, read_catalogue
from snellen.data.worlds.meshes.mesh_file import MeshFile, checked_ids, mesh_files

#: Ending of a catalogue of furniture.
CATALOGUE = ".sh3f"


@dataclass(frozen=True, kw_only=True)
class MeshList:
    """Objects before they are drawn.

    Attributes:
        files: of those that can be had.
        refused: object → its class and why it cannot be had.
        splits: object → split, where the path gives it.
        skipped: entries of catalogues that are no objects, with the reason.
    """

    files: tuple[MeshFile, ...]
    refused: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    splits: Mapping[str, Split] = field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def classes(self) -> dict[str, str]:
        """Object → class, the refused ones last."""
        kept_kinds = {name: kind for name, (kind, _) in self.refused.items()}
        return {file.object_id: file.class_name for file in self.files} | kept_kinds

    def of_split(self, split: Split, path: Path) -> MeshList:
        """The objects of a split.

        Raises:
            InputError: none.
        """
        there = sorted(set(self.splits.values()))
        if split not in there:
            raise InputError(
                f"{path} has no objects of split {split!r}; it has: {', '.join(there) or 'no splits'}. Splits are "
                f"folders: {path.name}/train/CLASS/OBJECT.obj"
            )
        return self._kept({name for name in self.classes if self.splits.get(name) == split})

    def only(self, objects: Collection[str], path: Path) -> MeshList:
        """Some objects; all where none is named.

        Raises:
            UnknownNameError: one that is not there.
        """
        for object_id in objects:
            if object_id not in self.classes:
                raise unknown_name(f"object of {path.name}", object_id, self.classes)
        return self._kept(set(objects)) if objects else self

    def _kept(self, chosen: Collection[str]) -> MeshList:
        files = tuple(file for file in self.files if file.object_id in chosen)
        refused = {name: entry for name, entry in self.refused.items() if name in chosen}
        return replace(self, files=files, refused=refused)


def listed_meshes(
    path: Path, *, label: Literal["category", "name"] = "category", labels: Path | None = None
) -> MeshList:
    """The objects of a place.

    Args:
        path: a folder of mesh files, with class subfolders, or with ``train``, ``test``, … of class subfolders; a
            catalogue of furniture, whose models are taken out into the cache folder; or a folder of catalogues.
        label: what the class of a catalogue's object is.
        labels: CSV with the columns ``object`` and ``label``: these objects and no others, and their classes.

    Raises:
        UnknownNameError: an object of ``labels`` that is not there.
        InputError: nothing there, or no such table.
    """
    class_names = None if labels is None else read_labels(labels)
    catalogues = [path] if path.suffix.lower() == CATALOGUE else []
    if path.is_dir():
        catalogues = sorted(below for below in path.iterdir() if below.suffix.lower() == CATALOGUE)
    elif not catalogues:
        what = "is one file" if path.is_file() else "is not there"
        raise InputError(
            f"{path} {what}; give a folder of mesh files (in class subfolders), or a catalogue FILE{CATALOGUE}"
        )
    found = _of_catalogues(catalogues, label, class_names) if catalogues else _of_folder(path)
    if class_names is None:
        return found
    found = found.only(class_names, path)
    files = tuple(replace(file, class_name=class_names[file.object_id]) for file in found.files)
    return replace(
        found, files=files, refused={name: (class_names[name], reason) for name, (_, reason) in found.refused.items()}
    )


def read_labels(path: Path) -> dict[str, str]:
    """Object → class, from a CSV file with the columns ``object`` and ``label``.

    Raises:
        InputError: no such file, a row without one of the two, or an object twice.
    """
    if not path.is_file():
        raise InputError(f"{path}, the table of labels, is not there")
    written = read_csv(path, needed="object", meant=("object", "label"))
    if "label" not in written.columns:
        raise InputError(f"{path} has no column 'label'; write the columns object,label")
    labels: dict[str, str] = {}
    for row, object_id, label in zip(written.rows, written.columns["object"], written.columns["label"], strict=True):
        if object_id is None or label is None:
            raise InputError(f"{path}, {row}: an object and a label are needed, got {object_id} and {label}")
        if str(object_id) in labels:
            raise InputError(f"{path}, {row}: {object_id} occurs twice")
        labels[str(object_id)] = str(label)
    if not labels:
        raise InputError(f"{path} names no objects")
    return labels


def _of_folder(path: Path) -> MeshList:
    parts = {below.name: split_of(below.name) for below in sorted(path.iterdir()) if below.is_dir()}
    if not parts or None in parts.values():
        return MeshList(files=mesh_files(path))
    files, splits = list[MeshFile](), dict[str, Split]()
    for folder, split in parts.items():
        assert split is not None
        for file in mesh_files(path / folder):
            files.append(replace(file, object_id=f"{folder}/{file.object_id}"))
            splits[files[-1].object_id] = split
    return MeshList(files=tuple(files), splits=splits)


def _of_catalogues(
    paths: Sequence[Path], label: Literal["category", "name"], wanted: Collection[str] | None
) -> MeshList:
    files, refused, skipped = list[MeshFile](), dict[str, tuple[str, str]](), list[tuple[str, str]]()
    for path in paths:
        catalogue = read_catalogue(path)
        classes = {model.object_id: model.name if label == "name" else model.category for model in catalogue.models}
        some = None if wanted is None else [object_id for object_id in classes if object_id in wanted]
        found, lost = furniture_meshes(catalogue, writable_cache("furniture"), object_ids=some, label=label)
        files += found
        refused |= {object_id: (classes[object_id], reason) for object_id, reason in lost.items()}
        skipped += [(f"{path.name} {entry}", reason) for entry, reason in catalogue.rejected.items()]
    checked_ids([*(file.object_id for file in files), *refused])
    return MeshList(files=tuple(files), refused=refused, skipped=tuple(skipped))
