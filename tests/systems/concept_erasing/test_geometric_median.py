"""The geometric median: a closed form, what moves it, and bad input."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.systems.concept_erasing.geometric_median import geometric_median
from tests.systems.concept_erasing.conftest import states


@pytest.mark.covers("34.2")
def test_in_one_dimension_it_is_the_median():
    points = torch.tensor([[0.0], [1.0], [3.0], [10.0], [1000.0]])
    assert geometric_median(points, tolerance=0).item() == pytest.approx(3.0, abs=1e-3)


def test_in_a_triangle_every_side_is_seen_at_the_same_angle():
    corners = torch.tensor([[0.0, 0.0], [4.0, 0.0], [1.0, 3.0]])
    towards = corners.double() - geometric_median(corners.double(), tolerance=0)
    unit = towards / towards.norm(dim=1, keepdim=True)
    assert (unit @ unit.T).tolist()[0][1:] == pytest.approx([-0.5, -0.5], abs=1e-4)


def test_it_moves_with_the_points_and_less_than_the_mean():
    points = states(50, 3)
    moved = geometric_median(points + 5, tolerance=0)
    assert torch.allclose(moved, geometric_median(points, tolerance=0) + 5, atol=1e-4)
    far = torch.cat([points, torch.full((5, 3), 1e4)])
    assert (geometric_median(far) - geometric_median(points)).norm() < 1
    assert (far.mean(0) - points.mean(0)).norm() > 1000


def test_points_that_are_all_the_same():
    assert geometric_median(torch.ones(4, 2)).tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("points", [torch.zeros(0, 2), torch.zeros(3), torch.tensor([[float("nan")]])])
def test_what_has_no_median_is_refused(points):
    with pytest.raises(InputError, match="point"):
        geometric_median(points)
