"""Cuts polygons of mesh files into triangles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
