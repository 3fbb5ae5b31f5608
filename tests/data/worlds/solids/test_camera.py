import math

import pytest
import torch

from snellen.core.errors import InputError
from snellen.data.worlds.solids.tracing import cameras_of, focal_length, sample_places
from snellen.data.worlds.viewpoints import ANGLE_OF_VIEW


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16, 32, 64])
def test_samples_lie_in_rows_and_columns_of_their_own(count):
    places = sample_places(count)
    for axis in (0, 1):
        assert sorted(place[axis] for place in places) == [(number + 0.5) / count for number in range(count)]


def test_sixteen_samples_are_spread():
    places = torch.tensor(sample_places(16))
    apart = (places[:, None] - places[None]).abs()
    apart = torch.minimum(apart, 1 - apart).norm(dim=-1) + torch.eye(16)
    assert apart.min() > 0.15


def test_the_angle_of_view_is_that_of_the_camera():
    assert math.atan(24 / focal_length(48)) * 2 == pytest.approx(ANGLE_OF_VIEW)


def test_cameras_stand_as_stated():
    cameras = cameras_of(torch.tensor([[10.0, 0.0, 0.0, 4.0, 0.0, 0.0], [0.0, 90.0, 30.0, 3.0, 0.0, 0.0]]))
    expected = torch.tensor([[0.0, -4.0, 0.0], [3 * math.cos(math.pi / 6), 0.0, 1.5]], dtype=torch.float64)
    assert torch.allclose(cameras.places, expected, atol=1e-6)
    assert len(cameras) == 2


@pytest.mark.parametrize("count", [0, 3, 5, 128])
def test_other_numbers_of_samples_are_refused(count):
    with pytest.raises(InputError, match="1, 2, 4, 8"):
        sample_places(count)


def test_viewpoints_must_be_finite():
    with pytest.raises(InputError, match="not finite"):
        cameras_of(torch.tensor([[0.0, math.nan, 0.0, 4.0, 0.0, 0.0]]))
