"""A SAM of random weights, and pictures of one disk with its mask."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.models.random_folders import write_random_sam


@pytest.fixture(scope="package")
def sam_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_sam(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="session")
def noise() -> Callable[..., Tensor]:
    """Pictures of smooth noise, (n, 3, h, w): whole bytes, so that nothing is rounded."""

    def pictures(count: int, height: int, width: int) -> Tensor:
        coarse = Randomness(1).bind(count).uniform("picture", (3, 6, 8))
        whole = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
        return whole.mul(255).round() / 255

    return pictures


@pytest.fixture(scope="session")
def disk() -> Callable[..., tuple[Tensor, np.ndarray]]:
    """A bright disk on a dark ground, both with noise: the picture (1, 3, 60, 80), and the mask (60, 80)."""

    def picture(x: float, y: float, radius: float = 12, seed: int = 0) -> tuple[Tensor, np.ndarray]:
        rows, columns = np.mgrid[:60, :80]
        mask = np.hypot(columns - x, rows - y) <= radius
        ground, ink = torch.tensor([0.1, 0.3, 0.6]).view(3, 1, 1), torch.tensor([0.9, 0.6, 0.1]).view(3, 1, 1)
        grain = Randomness(seed).bind(1).normal("grain", (3, 60, 80))
        clean = torch.where(torch.from_numpy(mask), ink, ground)[None]
        return (clean + 0.03 * grain).clamp(0, 1), mask

    return picture
