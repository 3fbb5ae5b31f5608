import math

import pytest
import torch

from snellen.core.errors import InputError
from snellen.data.worlds.viewpoints import CENTRES, HALF_RANGES, camera_to_world, viewpoints_of


def at(**given):
    base = {"roll": 0.0, "azimuth": 0.0, "elevation": 0.0, "distance": 4.0, "shift_x": 0.0, "shift_y": 0.0} | given
    return camera_to_world(torch.tensor([list(base.values())], dtype=torch.float64))[0]


def test_unbounded_numbers_fill_the_published_box():
    far = viewpoints_of(torch.tensor([[-50.0] * 6, [0.0] * 6, [50.0] * 6]))
    centres, halves = torch.tensor(CENTRES), torch.tensor(HALF_RANGES)
    assert torch.allclose(far, torch.stack([centres - halves, centres, centres + halves]))
    assert torch.allclose(far[:, 3], torch.tensor([3.0, 4.0, 5.0]))


@pytest.mark.parametrize("roll", [0, 25])
@pytest.mark.parametrize(("azimuth", "elevation"), [(0, 0), (40, 0), (-120, 35), (90, -60)])
@pytest.mark.parametrize("distance", [3.0, 5.0])
def test_the_camera_stands_at_its_distance_and_looks_at_the_origin(azimuth, elevation, distance, roll):
    matrix = at(azimuth=azimuth, elevation=elevation, distance=distance, roll=roll)
    place, ahead = matrix[:3, 3], -matrix[:3, 2]
    assert float(place.norm()) == pytest.approx(distance)
    assert torch.allclose(ahead, -place / distance, atol=1e-9)
    assert float(place[2]) == pytest.approx(distance * math.sin(math.radians(elevation)))
    assert torch.allclose(matrix[:3, :3] @ matrix[:3, :3].T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert float(torch.linalg.det(matrix[:3, :3])) == pytest.approx(1)


def test_an_upright_camera_has_its_right_side_level_and_a_roll_tilts_it_by_as_much():
    level = at(azimuth=70, elevation=50)
    rolled = at(azimuth=70, elevation=50, roll=20)
    assert float(level[2, 0]) == pytest.approx(0)
    assert float(level[:3, 0] @ rolled[:3, 0]) == pytest.approx(math.cos(math.radians(20)))
    assert torch.allclose(level[:3, 2], rolled[:3, 2])


def test_azimuth_turns_about_the_vertical_and_shifts_move_sideways():
    assert torch.allclose(at(azimuth=90)[:3, 3], torch.tensor([4.0, 0, 0], dtype=torch.float64), atol=1e-9)
    moved = at(azimuth=30, elevation=20, shift_x=0.5, shift_y=-0.25)
    still = at(azimuth=30, elevation=20)
    expected = still[:3, 3] + 0.5 * still[:3, 0] - 0.25 * still[:3, 1]
    assert torch.allclose(moved[:3, 3], expected)


def test_another_shape():
    with pytest.raises(InputError, match=r"viewpoints must be \(n, 6\).*got \(6,\)"):
        camera_to_world(torch.zeros(6))
