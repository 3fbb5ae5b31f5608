"""Makes normals for meshes without: smooth where the surface bends gently, sharp at its edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
