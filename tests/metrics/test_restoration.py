"""PSNR and SSIM against scikit-image, disparity against its definition."""

import numpy as np
import pytest
import torch
from skimage import metrics

from snellen.core.errors import InputError
from snellen.metrics.restoration import (
    end_point_error,
    peak_signal_to_noise,
    structural_similarity,
    three_pixel_error,
)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(3, 3, 20, 24, generator=generator)
    return (truth + 0.1 * torch.randn(truth.shape, generator=generator)), truth


def test_against_scikit_image(pair):
    given, truth = pair
    for row in range(3):
        one, other = (images[row].clamp(0, 1).permute(1, 2, 0).double().numpy() for images in (given, truth))
        expected = metrics.peak_signal_noise_ratio(other, one, data_range=1)
        assert peak_signal_to_noise(given, truth)[row].item() == pytest.approx(expected, rel=1e-9)
        full = metrics.structural_similarity(
            other, one, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            full=True,
        )[1]  # fmt: skip
        # scikit-image cuts off the border too, before its mean.
        expected = full[5:-5, 5:-5].mean()
        assert structural_similarity(given, truth)[row].item() == pytest.approx(expected, abs=1e-4)


def test_equal_images_and_small_ones(pair):
    _, truth = pair
    assert peak_signal_to_noise(truth, truth).isinf().all()
    assert structural_similarity(truth, truth).tolist() == pytest.approx([1, 1, 1])
    with pytest.raises(InputError, match="windows of 11 pixels"):
        structural_similarity(truth[..., :8], truth[..., :8])
    with pytest.raises(InputError, match="both"):
        peak_signal_to_noise(truth[:1], truth)


def test_disparities():
    truth = torch.tensor([[[[1.0, 5.0, torch.nan, 0.0]]]])
    given = torch.tensor([[[[2.0, 1.0, 9.0, 0.0]]]])
    assert end_point_error(given, truth).tolist() == pytest.approx([5 / 3])
    assert three_pixel_error(given, truth).tolist() == pytest.approx([1 / 3])
    with pytest.raises(InputError, match="differ in shape"):
        end_point_error(given, truth[..., :2])
    assert np.isfinite(three_pixel_error(given, given).numpy()).all()
