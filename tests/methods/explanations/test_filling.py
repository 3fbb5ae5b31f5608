"""What shows through the holes."""

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from snellen.core.errors import InputError
from snellen.methods.explanations.filling import (
    background_filling,
    blurred_filling,
    constant_filling,
    filling,
    mean_filling,
    telea_filling,
)

IMAGES = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
ROWS = torch.tensor([1, 0, 1])
KEPT = torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(1)) > 0.4


def test_hard_and_soft_edges_and_single_channels():
    backgrounds = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(2))
    filled = background_filling(IMAGES, backgrounds)
    hard = filled(ROWS, KEPT)
    assert torch.equal(hard, torch.where(KEPT[:, None], IMAGES[ROWS], backgrounds[ROWS]))
    soft = torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(3))
    mixed = soft[:, None] * IMAGES[ROWS] + (1 - soft[:, None]) * backgrounds[ROWS]
    assert torch.allclose(filled(ROWS, soft), mixed, atol=1e-6)
    channels = torch.rand(3, 3, 9, 7, generator=torch.Generator().manual_seed(4)) > 0.5
    assert torch.equal(filled(ROWS, channels), torch.where(channels, IMAGES[ROWS], backgrounds[ROWS]))


@pytest.mark.parametrize("name", ["black", "grey", "mean", "blur", "telea"])
def test_every_filling_keeps_what_is_kept_and_stays_in_range(name):
    filled = filling(name, IMAGES)
    made = filled(ROWS, KEPT)
    assert torch.equal(made.movedim(1, -1)[KEPT], IMAGES[ROWS].movedim(1, -1)[KEPT])
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1
    assert torch.equal(filled(ROWS[1:], KEPT[1:]), made[1:])
    nothing = filled(torch.tensor([0]), torch.zeros(1, 9, 7, dtype=torch.bool))
    assert not torch.equal(nothing[0], IMAGES[0])
    assert torch.equal(filled(torch.tensor([0]), torch.ones(1, 9, 7, dtype=torch.bool))[0], IMAGES[0])


def test_constants_and_means():
    nothing = torch.zeros(3, 9, 7, dtype=torch.bool)
    assert float(constant_filling(IMAGES, 0.25)(ROWS, nothing).unique()) == 0.25
    assert filling("black", IMAGES)(ROWS, nothing).unique().tolist() == [0.0]
    assert filling("grey", IMAGES)(ROWS, nothing).unique().tolist() == [0.5]
    means = mean_filling(IMAGES)(ROWS, nothing)
    assert torch.allclose(means[:, :, 0, 0], IMAGES[ROWS].mean((2, 3)))
    assert torch.allclose(means, means[:, :, :1, :1].expand_as(means))


@pytest.mark.parametrize("sigma", [0.7, 1.5, 6.0])
def test_the_blur_is_that_of_scipy(sigma):
    made = blurred_filling(IMAGES, sigma)(torch.arange(2), torch.zeros(2, 9, 7, dtype=torch.bool))
    expected = gaussian_filter(IMAGES.numpy().astype(np.float64), (0, 0, sigma, sigma), mode="reflect", truncate=4.0)
    assert np.abs(made.numpy() - expected).max() < 1e-5


def test_inpainting_is_that_of_opencv_and_where_nothing_is_kept_the_mean():
    image = torch.zeros(1, 3, 12, 12)
    image[0, 0, :, 6:] = 1.0
    kept = torch.ones(2, 12, 12, dtype=torch.bool)
    kept[0, 4:8, 3:9] = False
    kept[1] = False
    made = telea_filling(image)(torch.tensor([0, 0]), kept)
    bytes_ = (image[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    theirs = cv2.inpaint(np.ascontiguousarray(bytes_), (~kept[0]).numpy().astype(np.uint8), 3, cv2.INPAINT_TELEA)
    assert torch.allclose(made[0], torch.from_numpy(theirs).permute(2, 0, 1) / 255, atol=1e-6)
    assert torch.allclose(made[1], torch.tensor([0.5, 0.0, 0.0])[:, None, None].expand(3, 12, 12))


def test_what_cannot_be_filled_is_refused():
    with pytest.raises(InputError, match="hard edges"):
        telea_filling(IMAGES)(ROWS, KEPT.float())
    with pytest.raises(InputError, match="masks for"):
        constant_filling(IMAGES)(ROWS, KEPT[:, :4])
    with pytest.raises(InputError, match="a background for each image"):
        background_filling(IMAGES, IMAGES[:1])
    with pytest.raises(InputError, match=r"in \[0, 1\], got 1.5"):
        constant_filling(IMAGES, 1.5)
    with pytest.raises(InputError, match="above 0 pixels"):
        blurred_filling(IMAGES, 0.0)
