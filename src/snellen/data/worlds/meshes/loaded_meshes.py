"""The meshes of a renderer: read when they are first looked at, the latest ones kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from snellen.core.errors import InputError, unknown_name
from snellen.data.worlds.meshes.mesh import Mesh
from snellen.data.worlds.meshes.mesh_content import mesh_content_hash
from snellen.data.worlds.meshes.mesh_file import MeshFile, checked_ids, mesh_files
from snellen.data.worlds.meshes.reading import read_mesh


class LoadedMeshes:
    """Meshes by id.

    Args:
        files: a folder (see :func:`snellen.data.worlds.meshes.mesh_file.mesh_files`), or the files.
        kept: meshes in memory.
    """

    def __init__(self, files: Path | Sequence[MeshFile], *, kept: int = 8) -> None:
        listed = mesh_files(files) if isinstance(files, Path) else tuple(files)
        if not listed:
            raise InputError("a renderer of meshes needs at least one mesh file, got none")
        checked_ids([file.object_id for file in listed])
        self.files = {file.object_id: file for file in listed}
        self._kept, self._memory = kept, OrderedDict[str, Mesh]()
        self._hashes: dict[str, str] = {}
        self._lock = threading.Lock()

    def file(self, object_id: str) -> MeshFile:
        """File of an object. Raises UnknownNameError for another id."""
        if object_id not in self.files:
            raise unknown_name("object", object_id, self.files)
        return self.files[object_id]

    def mesh(self, object_id: str) -> Mesh:
        """Mesh of an object. Raises RejectedImageError where its file cannot be used."""
        file = self.file(object_id)
        with self._lock:
            if object_id not in self._memory:
                self._memory[object_id] = read_mesh(file)
                while len(self._memory) > self._kept:
                    self._memory.popitem(last=False)
            self._memory.move_to_end(object_id)
            return self._memory[object_id]

    def content_hash(self, object_id: str) -> str:
        """Hash of the files of an object and of how it is turned (hex)."""
        if object_id not in self._hashes:
            self._hashes[object_id] = mesh_content_hash(self.file(object_id))
        return self._hashes[object_id]
