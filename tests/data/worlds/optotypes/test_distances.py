import math

import pytest
import torch

from snellen.data.worlds.optotypes.factors import ROUND, SHAPES
from snellen.data.worlds.optotypes.objects import DISTANCES

SIDE = 401
PLACE = torch.linspace(-1.2, 1.2, SIDE)
Y, X = torch.meshgrid(PLACE, PLACE, indexing="ij")


def rotated(angle):
    return X * math.cos(angle) + Y * math.sin(angle), Y * math.cos(angle) - X * math.sin(angle)


def test_every_shape_has_a_distance():
    assert tuple(DISTANCES) == SHAPES


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_fills_the_unit_circle_and_does_not_leave_it(shape):
    inside = DISTANCES[shape](X, Y) < 0
    assert float(torch.hypot(X, Y)[inside].max()) < 1.12  # a square's corners reach 0.99, an hourglass's 1.02
    assert float(torch.hypot(X, Y)[inside].max()) > 0.8
    assert 0.15 < float(inside.float().mean()) * 2.4**2 / math.pi < 0.85


@pytest.mark.parametrize("shape", SHAPES)
def test_a_distance_changes_by_as_much_as_the_point_moves(shape):
    distance = DISTANCES[shape](X, Y)
    step = float(PLACE[1] - PLACE[0])
    down, right = torch.gradient(distance, spacing=step)
    near = distance.abs() < 0.05
    slope = torch.hypot(down, right)[near]
    assert float(slope.median()) == pytest.approx(1, abs=0.02)
    assert float(slope.max()) < 1.1


@pytest.mark.parametrize("shape", sorted(ROUND))
def test_round_shapes_do_not_change_when_turned(shape):
    assert torch.allclose(DISTANCES[shape](*rotated(0.7)), DISTANCES[shape](X, Y), atol=1e-5)


def overlap(first, second):
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize("shape", sorted(set(SHAPES) - ROUND))
def test_other_shapes_do(shape):
    assert overlap(DISTANCES[shape](*rotated(0.7)) < 0, DISTANCES[shape](X, Y) < 0) < 0.9


def test_no_two_shapes_are_alike_however_they_are_tilted():
    turned = [rotated(angle) for angle in torch.linspace(-0.4, 0.4, 5).tolist()]
    for number, one in enumerate(SHAPES):
        for other in SHAPES[:number]:
            worst = max(overlap(DISTANCES[one](X, Y) < 0, DISTANCES[other](*place) < 0) for place in turned)
            assert worst < 0.85, (one, other)


def test_a_circle_and_a_square_by_hand():
    assert float(DISTANCES["circle"](torch.tensor(3.0), torch.tensor(4.0))) == pytest.approx(5 - 0.86)
    assert float(DISTANCES["square"](torch.tensor(1.0), torch.tensor(0.0))) == pytest.approx(0.3)


def test_a_star_has_its_points_on_the_circle():
    for point in range(5):
        angle = point * math.tau / 5
        x, y = torch.tensor(math.sin(angle)), torch.tensor(-math.cos(angle))
        assert float(DISTANCES["star"](0.97 * x, 0.97 * y)) < 0 < float(DISTANCES["star"](1.03 * x, 1.03 * y))
        between = angle + math.pi / 5
        x, y = torch.tensor(math.sin(between)), torch.tensor(-math.cos(between))
        assert float(DISTANCES["star"](0.36 * x, 0.36 * y)) < 0 < float(DISTANCES["star"](0.41 * x, 0.41 * y))
