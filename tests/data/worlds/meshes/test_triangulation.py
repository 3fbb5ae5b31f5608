"""Polygons into triangles: the area is kept, whatever the polygon's shape and direction."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from snellen.data.worlds.meshes.wavefront import bent_inwards, ears, fan


def area(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> float:
    first, second, third = (points[triangles[:, place]] for place in range(3))
    return float(np.linalg.norm(np.cross(second - first, third - first), axis=1).sum() / 2)


@given(
    st.lists(st.floats(0.2, 3.0), min_size=4, max_size=12),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_ears_cover_a_star_once(radii: list[float], seed: int, backwards: bool) -> None:
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    flat = np.array(radii)[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    exact = abs(float((flat[:, 0] * np.roll(flat[:, 1], -1) - flat[:, 1] * np.roll(flat[:, 0], -1)).sum())) / 2
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    points = (flat @ basis[:2])[:: -1 if backwards else 1] + 5.0
    triangles = ears(points)
    assert triangles.shape == (len(radii) - 2, 3)
    np.testing.assert_allclose(area(points, triangles), exact, rtol=1e-6)


def test_a_polygon_that_crosses_itself_gives_triangles_all_the_same() -> None:
    bow = np.array([[0.0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]])
    assert ears(bow).shape == (2, 3)


def test_bent_inwards() -> None:
    square = [[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    arrow = [[0.0, 0, 0], [2, 0, 0], [0.5, 0.5, 0], [0, 2, 0]]
    straight = [[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 2, 0]]  # a corner in the middle of an edge
    assert bent_inwards(np.array([square, arrow, square[::-1], arrow[::-1], straight])).tolist() == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_a_fan_shares_its_first_corner() -> None:
    assert fan(np.array([[4, 5, 6, 7, 8]])).tolist() == [[4, 5, 6], [4, 6, 7], [4, 7, 8]]
