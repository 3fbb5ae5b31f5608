"""Motion blur against ImageMagick and a naive sum over the line."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from snellen.core.randomness import Randomness
from snellen.methods.corruptions import blur
from snellen.methods.corruptions.blur import motion_blur, motion_filter, motion_kernel

GOLDEN = Path(__file__).parent / "golden" / "blurs.safetensors"


@pytest.mark.parametrize("settings", ["10_3_-30", "15_8_20", "20_15_44", "12_4_-100"])
def test_equal_to_imagemagick_up_to_its_truncation(settings):
    golden = load_file(GOLDEN)
    radius, deviation, angle = map(float, settings.split("_"))
    image = golden["image"][None].float() / 255
    ours = motion_filter(image, torch.tensor([angle]), radius=radius, deviation=deviation)[0] * 255
    difference = ours - golden[f"motion_{settings}"].float()
    assert float(difference.min()) > -0.02
    assert float(difference.max()) < 1.02


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 4), (23, 31)])
@pytest.mark.parametrize("angle", [-135.0, -90.0, -44.0, 0.0, 29.0, 170.0])
def test_equal_to_a_naive_sum(size, angle):
    height, width = size
    plane = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0))
    expected = np.zeros(size)
    weights = np.exp(-0.5 * (np.arange(13) / 4.0) ** 2)
    for step, weight in enumerate(weights / weights.sum()):
        down = math.ceil(step * math.sin(math.radians(angle)) - 0.5 - 1e-9)
        right = math.ceil(step * math.cos(math.radians(angle)) - 0.5 - 1e-9)
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        expected += weight * plane[0, 0].double().numpy()[rows][:, columns]
    blurred = motion_filter(plane, torch.tensor([angle]), radius=6.0, deviation=4.0)
    assert np.abs(blurred[0, 0].numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("size", [(1, 7), (30, 23)])
def test_small_images_are_blurred_as_large_ones(size, monkeypatch):
    images = torch.rand(9, 3, *size, generator=torch.Generator().manual_seed(0))
    angles = torch.linspace(-170, 170, 9)
    small = motion_filter(images, angles, radius=8.0, deviation=1.2)
    monkeypatch.setattr(blur, "SMALL_SIDE", 0)
    assert torch.allclose(motion_filter(images, angles, radius=8.0, deviation=1.2), small, atol=1e-6)


def test_each_image_has_its_own_angle():
    images = torch.rand(3, 3, 20, 16)
    angles = torch.tensor([-40.0, 3.0, 80.0])
    together = motion_filter(images, angles, radius=5.0, deviation=3.0)
    for image, angle, blurred in zip(images, angles, together, strict=True):
        assert torch.equal(motion_filter(image[None], angle[None], radius=5.0, deviation=3.0)[0], blurred)


def test_angles_are_drawn_from_a_quarter_of_the_directions():
    point = torch.zeros(200, 3, 1, 1).expand(-1, -1, 41, 41).clone()
    point[:, :, 20, 20] = 1
    blurred = motion_blur(point, Randomness(0).bind(200), radius=10.0, deviation=10.0)[:, 0]
    # The image moves to the left of the point, up or down by less than it moves to the left.
    assert not blurred[:, :, 21:].any()
    rows = torch.arange(41.0) - 20
    heights = (blurred * rows[:, None]).sum((1, 2)) / -(blurred * rows).sum((1, 2))
    assert float(heights.abs().max()) <= 1.0
    assert abs(float(heights.mean())) < 0.1
    assert 0.45 < float(heights.std()) < 0.6  # of tan of a uniform angle: 0.52


def test_kernel_grows_without_jumps():
    assert motion_kernel(0.0, 3.0).tolist() == [1.0]
    assert motion_kernel(5.0, 0.0)[0] == 1.0
    assert len(motion_kernel(10.0, 3.0)) == 21
    means = []
    for radius in np.arange(0, 8, 0.05):
        kernel = motion_kernel(radius, 5.0)
        assert float(kernel.sum()) == pytest.approx(1)
        means.append(float(kernel @ torch.arange(len(kernel), dtype=torch.float64)))
    steps = np.diff(means)
    assert steps.min() > 0
    assert steps.max() < 0.1


def test_gradients_pass():
    planes = torch.rand(2, 1, 4, 5, dtype=torch.float64).requires_grad_()
    angles = torch.tensor([10.0, 100.0])
    assert torch.autograd.gradcheck(lambda x: motion_filter(x, angles, radius=1.5, deviation=1.0), planes)
