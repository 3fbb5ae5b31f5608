"""What a mesh is here: parts of one material each, as every renderer takes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.data.worlds.meshes.creased_normals import creased_normals


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
