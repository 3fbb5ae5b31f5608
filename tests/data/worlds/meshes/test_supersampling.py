"""Means over squares of pixels, and where cameras stand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.data.worlds.meshes.mesh_renderer import as_tensors, averaged, camera_of, checked_frame


def test_means_are_those_of_floating_point_over_a_white_background() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    covered = rng.random((12, 12)) < 0.5
    mean, share = averaged(pixels, covered, 3)
    white = np.where(covered[..., None], pixels, 255).astype(np.float64)
    exact = white.reshape(4, 3, 4, 3, 3).mean((1, 3))
    np.testing.assert_array_equal(mean, np.floor(exact + 0.5))
    np.testing.assert_allclose(share / 255, covered.reshape(4, 3, 4, 3).mean((1, 3)), atol=0.5 / 255)
    images, coverage = as_tensors([(mean, share)] * 2, 4)
    assert (images.shape, coverage.shape) == ((2, 3, 4, 4), (2, 4, 4))
    assert float(images[0, 1, 2, 3]) == pytest.approx(mean[2, 3, 1] / 255)
    assert as_tensors([], 4)[0].shape == (0, 3, 4, 4)


def test_the_camera_looks_from_where_it_stands() -> None:
    stand = camera_of(torch.tensor([[0.0, 90.0, 0.0, 4.0, 0.0, 0.0]]))
    np.testing.assert_allclose(stand.position, [4, 0, 0], atol=1e-12)
    np.testing.assert_allclose(stand.backwards, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(stand.upwards, [0, 0, 1], atol=1e-12)
    assert stand.near < 3 < 5 < stand.far
    assert np.linalg.norm(stand.light) == pytest.approx(1)


@pytest.mark.parametrize(
    ("viewpoint", "said"), [([0, 0, 0, float("inf"), 0, 0], "six finite numbers"), ([0, 0, 0, 0.5, 0, 0], "above 1.05")]
)
def test_where_no_camera_can_stand(viewpoint: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        camera_of(torch.tensor([viewpoint], dtype=torch.float32))


@pytest.mark.parametrize(("size", "supersampling"), [(0, 1), (8, 0), (4096, 2)])
def test_frames_that_cannot_be_drawn(size: int, supersampling: int) -> None:
    with pytest.raises(InputError, match="at most 4096"):
        checked_frame(size, supersampling)
