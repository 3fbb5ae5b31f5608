"""Filters against SciPy at sizes below and above the kernel's."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from snellen.methods.corruptions import filters
from snellen.methods.corruptions.filters import (
    blocks,
    fast_length,
    filter_matrix,
    fourier_filter,
    gaussian_filter,
    gaussian_kernel,
    reflect,
    reflect_101,
    replicate,
    separable_filter,
    without_empty_rim,
)

MODES = {replicate: "nearest", reflect: "reflect", reflect_101: "mirror"}
SIZES = [(1, 1), (1, 9), (13, 2), (24, 17), (150, 97)]


def planes_of(height, width):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height))


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("deviation", "truncate"), [(0.4, 4.0), (2.5, 4.0), (6.0, 3.0)])
def test_gaussian_is_scipys(border, size, deviation, truncate):
    planes = planes_of(*size)
    expected = ndimage.gaussian_filter(
        planes.double().numpy(), deviation, axes=(2, 3), mode=MODES[border], truncate=truncate
    )
    filtered = gaussian_filter(planes, deviation, truncate=truncate, border=border)
    assert np.abs(filtered.numpy() - expected).max() < 2e-6


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_fourier_filter_is_a_correlation(border, size):
    planes = planes_of(*size)
    kernel = torch.rand(5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))  # without symmetry
    expected = ndimage.correlate(planes.double().numpy(), kernel.numpy()[None, None], mode=MODES[border])
    filtered = fourier_filter(planes, kernel, border=border)
    assert filtered.dtype == torch.float32
    assert np.abs(filtered.numpy() - expected).max() < 2e-5


@pytest.mark.parametrize("size", [(1, 9), (24, 17)])
def test_few_weights_are_summed_to_the_same(size, monkeypatch):
    planes, kernel = planes_of(*size), torch.zeros(9, 11, dtype=torch.float64)
    kernel[2:6, 4:9] = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))  # off the centre
    summed = fourier_filter(planes, kernel)
    monkeypatch.setattr(filters, "FEW_WEIGHTS", 0)
    assert torch.allclose(fourier_filter(planes, kernel), summed, atol=1e-5)
    expected = ndimage.correlate(planes.double().numpy(), kernel.numpy()[None, None], mode="mirror")
    assert np.abs(summed.numpy() - expected).max() < 1e-5


def test_rims_are_cut_about_the_centre():
    kernel = torch.zeros(9, 11)
    kernel[2:6, 4:9] = 1
    assert torch.equal(without_empty_rim(kernel), kernel[2:7, 2:9])
    assert without_empty_rim(torch.zeros(3, 5)).shape == (3, 5)


def test_small_images_are_filtered_as_large_ones(monkeypatch):
    planes, vertical, horizontal = planes_of(24, 17), torch.rand(30, 24), torch.rand(9, 17)
    small = separable_filter(planes, vertical, horizontal)
    monkeypatch.setattr(filters, "SMALL_SIDE", 0)
    assert torch.allclose(separable_filter(planes, vertical, horizontal), small, rtol=1e-5)


def test_deviation_zero_is_a_copy_and_nothing_is_clamped():
    planes = 3 * planes_of(8, 8) - 1
    copy = gaussian_filter(planes, 0.0)
    assert torch.equal(copy, planes)
    assert copy.data_ptr() != planes.data_ptr()
    assert float(gaussian_filter(planes, 0.5).min()) < 0
    assert float(gaussian_filter(planes, 0.5).max()) > 1


def test_filter_keeps_constants_and_takes_any_layout():
    assert torch.allclose(filter_matrix(5, gaussian_kernel(3.0)).sum(1), torch.ones(5, dtype=torch.float64))
    wide = planes_of(20, 31)
    for view in (wide[:, :, 3:9, 4:], wide.transpose(2, 3), wide.to(memory_format=torch.channels_last), wide[:, ::2]):
        assert torch.equal(gaussian_filter(view, 1.5), gaussian_filter(view.contiguous(), 1.5))
        assert gaussian_filter(view, 0.0).is_contiguous()
        kernel = torch.rand(3, 3)
        assert torch.equal(fourier_filter(view, kernel), fourier_filter(view.contiguous(), kernel))


def test_blocks_are_the_matrix():
    matrix = filter_matrix(100, gaussian_kernel(2.0))
    rebuilt = torch.zeros(100, 100)
    cut = blocks(matrix, like=rebuilt, rows=30)
    for rows, columns, block in cut:
        rebuilt[rows, columns] = block
    assert torch.equal(rebuilt, matrix.float())
    assert max(block.shape[1] for _, _, block in cut) <= 30 + 2 * 8


def test_matrices_need_not_be_square_and_parts_do_not_show(monkeypatch):
    planes = planes_of(12, 10)
    vertical, horizontal = torch.rand(5, 12), torch.rand(7, 10)
    expected = vertical @ planes @ horizontal.T
    assert torch.allclose(separable_filter(planes, vertical, horizontal), expected, atol=1e-5)
    monkeypatch.setattr(filters, "PIXELS_AT_ONCE", 250)
    assert torch.allclose(separable_filter(planes, vertical, horizontal), expected, atol=1e-5)


def test_gradients_pass():
    planes = planes_of(4, 5)[:1, :1].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: gaussian_filter(x, 1.0), planes)
    assert torch.autograd.gradcheck(lambda x: fourier_filter(x, torch.rand(3, 3).fill_(0.2)), planes)


def test_fast_lengths():
    smooth = [2**a * 3**b * 5**c for a in range(1, 10) for b in range(6) for c in range(4)]
    assert all(fast_length(least) == min(s for s in smooth if s >= least) for least in range(1, 400))


@pytest.mark.parametrize("side", [28, 97, 299])
def test_not_a_bit_of_an_image_depends_on_the_others(side):
    images = torch.rand(7, 3, side, side, generator=torch.Generator().manual_seed(side))
    for deviation in (0.9, 3.0):
        together = gaussian_filter(images, deviation)
        assert torch.equal(gaussian_filter(images[2:5], deviation), together[2:5])
        for row in range(7):
            assert torch.equal(gaussian_filter(images[row : row + 1], deviation)[0], together[row])
