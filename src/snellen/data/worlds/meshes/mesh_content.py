"""Tells the content of mesh files apart without building the meshes."""

from __future__ import annotations

import hashlib
import re

from snellen.core.errors import RejectedImageError
from snellen.data.files.contained_file import read_file
from snellen.data.worlds.meshes.material_library import files_of_libraries
from snellen.data.worlds.meshes.mesh_file import MeshFile
from snellen.data.worlds.meshes.wavefront import MOST_BYTES

_LIBRARY = re.compile(rb"^[ \t]*mtllib[ \t]+(.*?)[ \t\r]*$", re.MULTILINE)


def mesh_content_hash(file: MeshFile) -> str:
    """Hash of all that a mesh is made from (sha256, hex): its file, materials, textures, and how it is turned.

    Reads the files, but neither parses the mesh nor decodes a texture. Other files of the folder do not count.

    Raises:
        RejectedImageError: the mesh's own file cannot be read; the message begins with the object's id.
    """
    try:
        content = read_file(file.path.parent, file.path.name, MOST_BYTES)
    except RejectedImageError as error:
        raise RejectedImageError(f"{file.object_id}: {error}") from error
    parts = [file.path.suffix.lower().encode(), repr((file.up_axis, file.rotation)).encode(), content]
    if file.path.suffix.lower() == ".obj":
        libraries = [name.decode("utf-8", "replace") for name in _LIBRARY.findall(content)]
        parts += files_of_libraries(file.path.parent, libraries)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
