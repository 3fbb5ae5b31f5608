"""Photographs, as files, arrays and tensors."""

import numpy as np
import pytest
from PIL import Image

NAMES = ("cat", "dog")


@pytest.fixture
def pixels():
    """Six pictures: uint8 (6, 10, 12, 3)."""
    return np.random.default_rng(0).integers(0, 256, (6, 10, 12, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path, pixels):
    """The same as files: cat/0.png, dog/1.png, cat/2.png and so on."""
    for row, picture in enumerate(pixels):
        (tmp_path / "photos" / NAMES[row % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "photos" / NAMES[row % 2] / f"{row}.png")
    return tmp_path / "photos"
