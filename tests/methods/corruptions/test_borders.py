"""Borders at any size and any amount, against NumPy's padding."""

import numpy as np
import pytest
import torch

from snellen.methods.corruptions.filters import pad, reflect, reflect_101, replicate

MODES = {replicate: "edge", reflect: "symmetric", reflect_101: "reflect"}


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 2), (5, 0), (0, 23), (40, 41)])
def test_index_is_numpys_padding(border, size, before, after):
    index = border(size, before, after)
    assert index.dtype == torch.int64
    assert index.tolist() == np.pad(np.arange(size), (before, after), mode=MODES[border]).tolist()


@pytest.mark.parametrize("border", MODES)
def test_planes(border):
    planes = torch.rand(2, 3, 4, 1)
    padded = pad(planes, (3, 9), (2, 0), border)
    expected = np.pad(planes.numpy(), ((0, 0), (0, 0), (3, 9), (2, 0)), mode=MODES[border])
    assert np.array_equal(padded.numpy(), expected)
    padded.zero_()
    assert planes.any(), "a new tensor"
