"""Tissue: Otsu's threshold and small parts against independent libraries; glass, black and ink."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label
from skimage.filters import threshold_otsu
from skimage.morphology import remove_small_objects

from snellen.data.files.whole_slides.tiling import LARGEST_THRESHOLD, otsu_threshold, tissue_mask, without_small_parts
from tests.data.files.whole_slides.painted import glass, with_tissue


@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_is_otsus(seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = np.concatenate([draw.normal(20, 6, 4000), draw.normal(90 + 20 * seed, 25, 1500)]).clip(0, 255)
    pixels = values.astype(np.uint8)
    assert otsu_threshold(pixels) == threshold_otsu(pixels, hist=np.bincount(pixels, minlength=256))
    assert otsu_threshold(np.full(9, 7, dtype=np.uint8)) == 7


@pytest.mark.parametrize("share", [0.2, 0.5, 0.62, 0.9])
def test_small_parts_are_those_of_an_independent_labelling(share: float) -> None:
    mask = np.random.default_rng(3).random((60, 47)) < share
    parts, count = label(mask)
    area = np.bincount(parts.ravel())
    for smallest in (1, 2, 7.5, 40):
        expected = mask & (area[parts] >= smallest)
        np.testing.assert_array_equal(without_small_parts(mask, smallest), expected)
    assert count > 0
    assert not without_small_parts(np.zeros((3, 4), dtype=bool), 1).any()
    spiral = np.array([[1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]], dtype=bool)
    np.testing.assert_array_equal(without_small_parts(spiral, 15), remove_small_objects(spiral, max_size=14))
    assert without_small_parts(spiral, 14).all() == spiral.all()
    assert without_small_parts(spiral, 14).sum() == 14


def test_tissue_is_found_and_specks_and_holes_are_not() -> None:
    pixels = with_tissue(glass(), 60, 40, 120, 100)
    pixels[10:14, 10:14] = [200, 100, 160]  # a speck
    pixels[100:104, 80:84] = 237  # a hole
    expected = np.zeros((256, 256), dtype=bool)
    expected[60:180, 40:140] = True
    np.testing.assert_array_equal(tissue_mask(Image.fromarray(pixels), smallest=17), expected)
    kept = tissue_mask(Image.fromarray(pixels), smallest=16)
    assert kept[11, 11]
    assert not kept[101, 81]


def test_glass_alone_and_black_alone_are_no_tissue() -> None:
    assert not tissue_mask(Image.fromarray(glass())).any()
    black = np.random.default_rng(0).integers(0, 4, (50, 50, 3), dtype=np.uint8)  # of any hue, and saturated
    assert not tissue_mask(Image.fromarray(black)).any()


def test_a_slide_full_of_tissue_keeps_its_pale_parts() -> None:
    pale, dark = np.array([228, 180, 208]), np.array([110, 40, 130])
    stripes = np.where((np.arange(64) % 4 == 0)[:, None, None], dark, pale) * np.ones((1, 64, 1))
    picture = Image.fromarray(stripes.astype(np.uint8))
    saturation = np.asarray(picture.convert("HSV"))[..., 1]
    assert otsu_threshold(saturation) >= LARGEST_THRESHOLD
    assert tissue_mask(picture).all()


def test_ink_counts_as_tissue_as_the_page_says() -> None:
    pixels = glass()
    pixels[20:60, 20:60] = [30, 60, 200]
    assert tissue_mask(Image.fromarray(pixels), smallest=20)[30, 30]
