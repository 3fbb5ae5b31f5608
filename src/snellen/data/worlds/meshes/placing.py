"""Puts a mesh where a viewpoint expects it: about the origin, within a sphere of radius 1, z up."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.data.worlds.meshes.mesh import Mesh

#: The axis of the file that points up.
UpAxis = Literal["y", "z"]

#: y up to z up: a quarter turn about x, so that what faces +z (the front, in files with y up) faces azimuth 0.
Y_UP_TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def placed(mesh: Mesh, *, up: UpAxis = "y", rotation: NDArray[np.float64] | None = None) -> Mesh:
    """The mesh about the origin, in a sphere of radius 1, z up.

    The centre of the box around it goes to the origin, and the farthest vertex to distance 1, whatever its unit was.
    The box's centre, unlike the mean of vertices, does not follow the density of the mesh.

    >>> from snellen.data.worlds.meshes.mesh import part_of_corners
    >>> part = part_of_corners(np.array([[0.0, 0, 0], [6, 0, 0], [0, 8, 0]]), np.array([[0, 1, 2]]))
    >>> placed(Mesh((part,))).corners().round(6).tolist()
    [[-0.6, 0.0, -0.8], [0.6, 0.0, -0.8], [-0.6, 0.0, 0.8]]

    Args:
        mesh: as read.
        up: axis of the file that points up.
        rotation: matrix (3, 3) applied before, in the axes of the file.

    Raises:
        InputError: a vertex is not finite, all are at one place, or ``rotation`` is not a rotation.
    """
    turn = np.eye(3) if rotation is None else np.asarray(rotation, dtype=np.float64)
    if turn.shape != (3, 3) or not np.allclose(turn @ turn.T, np.eye(3), atol=1e-2):
        raise InputError(f"a rotation must be an orthogonal matrix (3, 3), got {turn.tolist()}")
    if up == "y":
        turn = Y_UP_TO_Z_UP @ turn
    corners = mesh.corners() @ turn.T
    if not np.isfinite(corners).all():
        raise InputError("a vertex of the mesh is not finite")
    centre = (corners.min(0) + corners.max(0)) / 2
    radius = float(np.linalg.norm(corners - centre, axis=1).max())
    if radius <= 0:
        raise InputError("all vertices of the mesh are at one place")
    parts = tuple(
        replace(part, vertices=(part.vertices @ turn.T - centre) / radius, normals=part.normals @ turn.T)
        for part in mesh.parts
    )
    return replace(mesh, parts=parts)
