"""What a mesh is here: parts of one material each, with normals, and placed where a viewpoint expects it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError

#: Triangles that bend by less than this share their shading: a box stays sharp, a cylinder of ten sides is round.
CREASE_DEGREES = 40.0

#: Corners of one point that are compared with each other; further ones are taken with their neighbours in order alone.
_MOST_COMPARED = 64


def creased_normals(
    positions: NDArray[np.float64], own: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Normals of corners: the weighted mean over the triangles at the same point that bend by less than 40°.

    Corners are compared in pairs, at most 64 around each, so memory is bounded by a few arrays of the input's length.

    >>> roof = np.array([[0.0, 0, 1], [0, 0, 1], [0, 1, 0]])
    >>> creased_normals(np.zeros((3, 3)), roof, np.ones(3)).tolist() == roof.tolist()
    True

    Args:
        positions: of corners of triangles, float64 (n, 3); corners of one point have equal positions.
        own: normals of their triangles, unit length, float64 (n, 3).
        weight: of each, such as the area of the triangle, float64 (n,), above 0.
    """
    _, point = np.unique(positions, axis=0, return_inverse=True)
    # Within a point by direction and weight: the order of triangles in the file makes no difference.
    order = np.lexsort((weight, own[:, 2], own[:, 1], own[:, 0], point.reshape(-1)))
    point, normals, weighted = point.reshape(-1)[order], own[order], (own * weight[:, None])[order]
    total = weighted.copy()
    first = np.arange(len(order))
    for step in range(1, _MOST_COMPARED + 1):
        first = first[first + step < len(order)]
        first = first[point[first] == point[first + step]]
        if not len(first):
            break
        near = first[(normals[first] * normals[first + step]).sum(1) > np.cos(np.deg2rad(CREASE_DEGREES))]
        # Each index occurs once on either side, so that adding in place is safe.
        total[near] += weighted[near + step]
        total[near + step] += weighted[near]
    made = np.empty_like(total)
    made[order] = total / np.linalg.norm(total, axis=1)[:, None]
    return made


@dataclass(frozen=True, eq=False)
class Material:
    """What a surface looks like.

    Args:
        name: as in the file.
        colour: diffuse colour, three numbers in [0, 1]; multiplies the texture.
        opacity: 1 is opaque; must be above 0.
        texture: uint8 (h, w, 4), the first row on top; alpha is 0 (cut out) or 255. None: the colour alone.
    """

    name: str = "plain"
    colour: tuple[float, float, float] = (0.8, 0.8, 0.8)
    opacity: float = 1.0
    texture: NDArray[np.uint8] | None = None

    @property
    def cut_out(self) -> bool:
        """Whether the texture has holes."""
        return self.texture is not None and bool((self.texture[..., 3] == 0).any())


@dataclass(frozen=True, eq=False)
class Part:
    """Triangles of one material.

    Args:
        vertices: float64 (n, 3).
        triangles: int64 (m, 3), indices of vertices.
        normals: float64 (n, 3), unit length.
        texture_coordinates: float64 (n, 2), (0, 0) at the lower left of the texture; outside [0, 1] it repeats.
        material: what it looks like.
    """

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int64]
    normals: NDArray[np.float64]
    texture_coordinates: NDArray[np.float64] | None = None
    material: Material = Material()


@dataclass(frozen=True, eq=False)
class Mesh:
    """One object.

    Args:
        parts: at least one, each with triangles.
        notes: what was wrong with the file and how it was met (a texture that is missing, a face left out).
    """

    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.parts or any(not len(part.triangles) for part in self.parts):
            raise InputError("a mesh needs at least one part, and each part at least one triangle")

    @property
    def triangle_count(self) -> int:
        """Triangles of all parts."""
        return sum(len(part.triangles) for part in self.parts)

    def corners(self) -> NDArray[np.float64]:
        """Vertices that triangles use, float64 (n, 3)."""
        return np.concatenate([part.vertices[np.unique(part.triangles)] for part in self.parts])


def part_of_corners(
    corners: NDArray[np.float64],
    triangles: NDArray[np.int64],
    *,
    normals: NDArray[np.float64] | None = None,
    texture_coordinates: NDArray[np.float64] | None = None,
    material: Material | None = None,
) -> Part | None:
    """Part of some triangles, with the normals made where they are missing; None where no triangle has an area.

    >>> square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    >>> part = part_of_corners(square, np.array([[0, 1, 2], [0, 2, 3], [1, 1, 2]]))
    >>> part.vertices[part.triangles[1]].tolist(), part.normals[0].tolist()
    ([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]], [0.0, 0.0, 1.0])

    Args:
        corners: positions, float64 (n, 3).
        triangles: int64 (m, 3), indices of corners.
        normals: float64 (n, 3), of any length; rows of length 0 or not finite count as missing.
        texture_coordinates: float64 (n, 2).
        material: grey by default.
    """
    first, second, third = (corners[triangles[:, place]] for place in range(3))
    across = np.cross(second - first, third - first)
    double_area = np.linalg.norm(across, axis=1)
    # Needles of no area have no direction, and nothing of them can be seen.
    kept = double_area > 1e-12 * max(double_area.max(initial=0.0), np.finfo(float).tiny)
    if not kept.any():
        return None
    triangles, across = triangles[kept], across[kept] / double_area[kept, None]
    shown = Material() if material is None else material
    if normals is not None:
        length = np.linalg.norm(normals, axis=1)
        if bool((np.isfinite(length) & (length > 1e-9))[triangles].all()):
            unit = normals / np.maximum(length, 1e-9)[:, None]
            return Part(corners, triangles, unit, texture_coordinates, shown)
    flat = triangles.reshape(-1)
    coordinates = None if texture_coordinates is None else texture_coordinates[flat]
    own = np.repeat(across, 3, axis=0)
    smooth = creased_normals(corners[flat], own, np.repeat(double_area[kept], 3))
    return Part(corners[flat], np.arange(len(flat)).reshape(-1, 3), smooth, coordinates, shown)


def joined_notes(notes: Iterable[str]) -> tuple[str, ...]:
    """Notes without repetition, in order."""
    return tuple(dict.fromkeys(notes))


#: The axis of the file that points up.
UpAxis = Literal["y", "z"]

#: y up to z up: a quarter turn about x, so that what faces +z (the front, in files with y up) faces azimuth 0.
Y_UP_TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def placed(mesh: Mesh, *, up: UpAxis = "y", rotation: NDArray[np.float64] | None = None) -> Mesh:
    """The mesh about the origin, in a sphere of radius 1, z up.

    The centre of the box around it goes to the origin, and the farthest vertex to distance 1, for every unit of length.
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
