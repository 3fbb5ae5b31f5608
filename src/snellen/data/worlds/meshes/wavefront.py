"""Reads Wavefront OBJ files with their materials (MTL) and textures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import RejectedImageError
from snellen.data.files.contained_file import read_file
from snellen.data.worlds.meshes.material_library import read_materials
from snellen.data.worlds.meshes.mesh import Material, Mesh, Part, joined_notes, part_of_corners


def fan(polygons: NDArray[np.int64]) -> NDArray[np.int64]:
    """Triangles (m · (k − 2), 3) of convex polygons of k corners each, int64 (m, k).

    >>> fan(np.array([[0, 1, 2, 3]])).tolist()
    [[0, 1, 2], [0, 2, 3]]
    """
    count, corners = polygons.shape
    steps = np.arange(1, corners - 1)
    first = np.broadcast_to(polygons[:, :1], (count, len(steps)))
    return np.stack([first, polygons[:, steps], polygons[:, steps + 1]], axis=2).reshape(-1, 3)


def bent_inwards(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether polygons (m, k, 3) have a corner that points inwards, bool (m,)."""
    before = points - np.roll(points, 1, axis=1)
    turn = np.cross(before, np.roll(before, -1, axis=1))
    normal = _normals(points)
    size = np.linalg.norm(normal, axis=1)[:, None] ** 2
    return np.asarray(((turn * normal[:, None]).sum(2) < -1e-9 * size).any(axis=1))


def ears(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Triangles of one simple polygon (k, 3), int64 (k − 2, 3) of places in it, by clipping its ears.

    Source: Meisters, "Polygons have ears" (1975). O(k³) at worst. A polygon that crosses itself gets a fan from where
    no ear is left.

    >>> ears(np.array([[0.0, 0, 0], [2, 0, 0], [0.5, 0.5, 0], [0, 2, 0]])).tolist()
    [[0, 1, 2], [0, 2, 3]]
    """
    normal = _normals(points[None])[0]
    drop = int(np.abs(normal).argmax())
    flat = np.delete(points, drop, axis=1)
    sign = np.sign(normal[drop]) * (-1.0 if drop == 1 else 1.0)
    left, triangles = list(range(len(points))), []
    while len(left) > 3:
        place = next((place for place in range(len(left)) if _is_ear(flat, left, place, sign)), None)
        if place is None:
            break
        triangles.append((left[place - 1], left[place], left[(place + 1) % len(left)]))
        del left[place]
    rest = fan(np.array([left], dtype=np.int64))
    return np.concatenate([np.array(triangles, dtype=np.int64).reshape(-1, 3), rest])


def _is_ear(flat: NDArray[np.float64], left: list[int], place: int, sign: float) -> bool:
    before, here, after = left[place - 1], left[place], left[(place + 1) % len(left)]
    triangle = flat[[before, here, after]]
    if sign * _cross(triangle[1] - triangle[0], triangle[2] - triangle[0]) <= 0:
        return False
    others = flat[[index for index in left if index not in (before, here, after)]]
    sides = [sign * _cross(triangle[(k + 1) % 3] - triangle[k], others - triangle[k]) for k in range(3)]
    return not bool(np.logical_and.reduce([side > 0 for side in sides]).any())


def _cross(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0])


def _normals(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normals of polygons (m, k, 3) by the sum over their edges (Newell), (m, 3); their length is twice the area."""
    moved = points - points[:, :1]
    return np.asarray(np.cross(moved, np.roll(moved, -1, axis=1)).sum(1))


#: Largest file, bytes, and most triangles of one mesh.
MOST_BYTES, MOST_TRIANGLES = 256 * 2**20, 4_000_000

#: Most corners of a concave face: cutting it takes a time that grows with their third power.
MOST_CORNERS = 512


@dataclass
class _Numbers:
    """What the lines of a file say, before it is sorted out."""

    positions: list[str] = field(default_factory=list)
    coordinates: list[str] = field(default_factory=list)
    normals: list[str] = field(default_factory=list)
    faces: dict[str, list[list[str]]] = field(default_factory=dict)
    libraries: list[str] = field(default_factory=list)


def read_wavefront(path: Path) -> Mesh:
    """Read an OBJ file, with the material libraries and textures that lie below its folder.

    Polygons become triangles (concave ones by their ears); lines and points are left out; normals that are missing are
    made. Smoothing groups, bump maps and reflections are not read. ``notes`` lists what is missing.

    Raises:
        RejectedImageError: no such file, too large, a number that is none, an index out of range, a concave face of
            more than :data:`MOST_CORNERS` corners, or nothing to see.
    """
    content = read_file(path.parent, path.name, MOST_BYTES)
    numbers = _sorted_lines(content.decode("utf-8", "replace"))
    positions = _array("v", numbers.positions, 3)
    coordinates, normals = _array("vt", numbers.coordinates, 2), _array("vn", numbers.normals, 3)
    materials, notes = read_materials(path.parent, numbers.libraries)
    parts, count = [], 0
    for name, faces in numbers.faces.items():
        if not faces:
            continue
        material = materials.get(name)
        if material is None:
            notes.append(f"material {name!r} is in no library: grey")
        part = _part(faces, positions, coordinates, normals, material or Material(name))
        if part is not None:
            parts.append(part)
            count += len(part.triangles)
        if count > MOST_TRIANGLES:
            raise RejectedImageError(f"more than {MOST_TRIANGLES} triangles")
    if not parts:
        raise RejectedImageError("the file has no face with an area")
    return Mesh(tuple(parts), joined_notes(notes))


def _sorted_lines(text: str) -> _Numbers:
    numbers = _Numbers()
    faces = numbers.faces.setdefault("", [])
    counts = (numbers.positions, numbers.coordinates, numbers.normals)
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").splitlines():
        key, _, rest = line.strip().partition(" ")
        if key == "v":
            numbers.positions.append(rest)
        elif key == "vn":
            numbers.normals.append(rest)
        elif key == "vt":
            numbers.coordinates.append(rest)
        elif key == "f":
            corners = rest.split()
            if "-" in rest:
                corners = [_counted_from_the_start(corner, counts) for corner in corners]
            if len(corners) >= 3:
                faces.append(corners)
        elif key == "usemtl":
            faces = numbers.faces.setdefault(rest.strip(), [])
        elif key == "mtllib":
            numbers.libraries.append(rest.strip())
    return numbers


def _counted_from_the_start(corner: str, counts: tuple[list[str], list[str], list[str]]) -> str:
    try:
        indices = [
            str(len(known) + 1 + int(index)) if index.startswith("-") else index
            for index, known in zip(corner.split("/"), counts, strict=False)
        ]
    except ValueError as error:
        raise RejectedImageError(f"a corner of a face is {corner[:40]!r}, not indices") from error
    return "/".join(indices)


def _array(key: str, lines: list[str], width: int) -> NDArray[np.float64]:
    if not lines:
        return np.empty((0, width))
    try:
        rows = [line.split()[:width] for line in lines]
        if width == 2:
            rows = [row if len(row) == 2 else [*row, "0"] for row in rows]  # a texture of one dimension
        values = np.array(rows, dtype=np.float64)
        if values.shape[1] != width:
            raise ValueError(f"{values.shape[1]} numbers")
    except (ValueError, IndexError) as error:
        raise RejectedImageError(f"a line {key!r} does not hold {width} numbers ({str(error)[:80]})") from error
    if not np.isfinite(values).all():
        raise RejectedImageError(f"a line {key!r} holds a number that is not finite")
    return values


def _part(
    faces: list[list[str]],
    positions: NDArray[np.float64],
    coordinates: NDArray[np.float64],
    normals: NDArray[np.float64],
    material: Material,
) -> Part | None:
    """Part of the faces of one material; each different corner becomes a vertex."""
    places: dict[str, int] = {}
    by_length: dict[int, list[list[int]]] = {}
    for face in faces:
        by_length.setdefault(len(face), []).append([places.setdefault(corner, len(places)) for corner in face])
    indices = _indices(list(places))
    corners = positions[_within(indices[:, 0], len(positions), "vertex")]
    texture = normal = None
    if len(coordinates) and bool((indices[:, 1] > 0).all()):
        texture = coordinates[_within(indices[:, 1], len(coordinates), "texture coordinate")]
    if len(normals) and bool((indices[:, 2] > 0).all()):
        normal = normals[_within(indices[:, 2], len(normals), "normal")]
    triangles = np.concatenate([_triangles(np.array(polygons), corners) for polygons in by_length.values()])
    return part_of_corners(corners, triangles, normals=normal, texture_coordinates=texture, material=material)


def _triangles(polygons: NDArray[np.int64], corners: NDArray[np.float64]) -> NDArray[np.int64]:
    if polygons.shape[1] == 3:
        return polygons
    bent = bent_inwards(corners[polygons])
    if polygons.shape[1] > MOST_CORNERS and bool(bent.any()):
        raise RejectedImageError(f"a concave face has {polygons.shape[1]} corners, more than {MOST_CORNERS}")
    cut = [polygon[ears(corners[polygon])] for polygon in polygons[bent]]
    return np.concatenate([fan(polygons[~bent]), *cut])


def _indices(corners: list[str]) -> NDArray[np.int64]:
    """Indices (n, 3) of vertex, texture coordinate and normal, counted from 1; 0 where there is none."""
    try:
        rows = [([int(index) if index else 0 for index in corner.split("/")] + [0, 0])[:3] for corner in corners]
        return np.array(rows, dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise RejectedImageError(f"a corner of a face is not indices ({str(error)[:80]})") from error


def _within(index: NDArray[np.int64], count: int, what: str) -> NDArray[np.int64]:
    bad = index[(index < 1) | (index > count)]
    if len(bad):
        raise RejectedImageError(f"a face names {what} {bad[0]}, but there are {count}")
    return index - 1
