"""The pointing game: rows and columns, tolerance, and points that are missing."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.mask_overlap import pointing_game

MASKS = np.zeros((1, 20, 30), dtype=bool)
MASKS[0, 5:8, 20:25] = True


def hit(row, column, **options):
    return pointing_game([[row, column]], MASKS, **options).tolist()


def test_points_are_row_and_column():
    assert hit(6, 22) == [1]
    assert hit(7, 24) == [1]
    assert hit(8, 24) == [0]
    assert pointing_game([[18, 6]], MASKS.transpose(0, 2, 1)[:, ::-1]).tolist() == [0]
    with pytest.raises(InputError, match="some lie outside"):
        hit(22, 6)


def test_the_tolerance_is_a_distance_to_the_nearest_pixel():
    assert hit(11, 20, tolerance=4) == [1]
    assert hit(11, 20, tolerance=3.9) == [0]
    assert hit(10, 28, tolerance=5) == [1]  # 3 down and 4 right
    assert hit(10, 28, tolerance=4.99) == [0]


def test_nothing_pointed_at_and_nothing_to_point_at_are_no_misses():
    points = [[-1, -1], [6, 22], [6, 22]]
    masks = np.concatenate([MASKS, MASKS, np.zeros_like(MASKS)])
    found = pointing_game(points, masks.astype(np.int64))
    assert np.isnan(found).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("points", "masks", "options", "words"),
    [
        ([[1, 2], [3, 4]], MASKS, {}, "points \\(n, 2\\)"),
        ([[1, 2]], MASKS[0], {}, "masks \\(n, h, w\\)"),
        ([[1, 2]], MASKS * 0.5, {}, "Cut probabilities"),
        ([[1, 2]], MASKS * 3, {}, "bool, or integers"),
        ([[1, 2]], MASKS, {"tolerance": -1}, "from 0 on"),
        ([[1, 2]], MASKS, {"tolerance": float("nan")}, "from 0 on"),
        ([[20, 2]], MASKS, {}, "outside"),
    ],
)
def test_refusals(points, masks, options, words):
    with pytest.raises(InputError, match=words):
        pointing_game(points, masks, **options)
