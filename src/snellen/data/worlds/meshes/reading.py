"""Reads a mesh file of any known kind and puts the object in its place."""

from __future__ import annotations

import numpy as np

from snellen.core.errors import InputError, RejectedImageError, import_extra
from snellen.data.files.contained_file import read_file
from snellen.data.worlds.meshes.header_checks import check_header
from snellen.data.worlds.meshes.mesh import Mesh, Part, joined_notes, part_of_corners
from snellen.data.worlds.meshes.mesh_file import MeshFile
from snellen.data.worlds.meshes.placing import placed
from snellen.data.worlds.meshes.vtk_messages import vtk_messages_kept
from snellen.data.worlds.meshes.wavefront import MOST_BYTES, MOST_TRIANGLES, read_wavefront


def read_mesh(file: MeshFile) -> Mesh:
    """The object of a file, about the origin, in a sphere of radius 1, z up.

    OBJ is read with materials and textures, without further packages. STL, PLY and GLB are read by pyvista, as
    shapes of one colour: their materials are left out, and a note says so.

    Raises:
        RejectedImageError: the file cannot be used; the message begins with the object's id.
        MissingExtraError: a kind of file that needs pyvista.
    """
    try:
        mesh = read_wavefront(file.path) if file.path.suffix.lower() == ".obj" else _read_by_pyvista(file)
        rotation = None if file.rotation is None else np.array(file.rotation, dtype=np.float64).reshape(3, 3)
        return placed(mesh, up=file.up_axis, rotation=rotation)
    except (RejectedImageError, InputError) as error:
        raise RejectedImageError(f"{file.object_id}: {error}") from error


def _read_by_pyvista(file: MeshFile) -> Mesh:
    pyvista = import_extra("pyvista", "meshes", f"reading {file.path.suffix} meshes")
    content = read_file(file.path.parent, file.path.name, MOST_BYTES)
    check_header(file.path.suffix.lower(), content)
    with vtk_messages_kept() as messages:
        try:
            surface = pyvista.read(file.path)
            if isinstance(surface, pyvista.MultiBlock):
                surface = surface.combine(merge_points=False)
            surface = surface.extract_surface(algorithm="dataset_surface").triangulate()
        except Exception as error:  # VTK's readers raise whatever a damaged file makes them stumble over
            raise RejectedImageError(f"damaged: {str(error)[:120] or type(error).__name__}") from error
    part = _part_of_surface(
        np.asarray(surface.points, dtype=np.float64), np.asarray(surface.faces).reshape(-1, 4)[:, 1:].astype(np.int64)
    )
    if part is None:
        raise RejectedImageError("; ".join(["the file has no face with an area", *messages])[:300])
    if len(part.triangles) > MOST_TRIANGLES:
        raise RejectedImageError(f"more than {MOST_TRIANGLES} triangles")
    notes = joined_notes([f"materials of {file.path.suffix} files are not read: grey", *messages])
    return Mesh((part,), notes)


def _part_of_surface(points: np.ndarray, triangles: np.ndarray) -> Part | None:
    if not len(triangles) or not np.isfinite(points).all():
        return None
    return part_of_corners(points, triangles)
