"""From masks to the one object that is edited."""

import numpy as np
import pytest
import torch
from skimage.measure import label

from snellen.core.errors import InputError, RejectedImageError
from snellen.methods.edits.masked_object import binarised, largest_part, object_of, widened


def boxes(*spans, side=20):
    mask = torch.zeros(side, side, dtype=torch.bool)
    for top, left, bottom, right in spans:
        mask[top:bottom, left:right] = True
    return mask


@pytest.mark.covers("27.9")
def test_the_largest_part_is_that_of_scikit_image():
    for seed in range(20):
        mask = torch.rand(17, 23, generator=torch.Generator().manual_seed(seed)) < 0.35
        parts = label(mask.numpy(), connectivity=2)
        sizes = np.bincount(parts.ravel())[1:]
        found = largest_part(mask).numpy()
        assert found.sum() == sizes.max()
        # One whole part, and the first of those that are as large.
        assert np.array_equal(found, parts == 1 + int(np.flatnonzero(sizes == sizes.max())[0]))


@pytest.mark.covers("27.9")
def test_the_rules_of_parts_and_holes():
    two = boxes((2, 2, 8, 8), (12, 12, 16, 16))
    assert torch.equal(object_of(two), boxes((2, 2, 8, 8)))
    assert torch.equal(object_of(two, "all"), two)
    ring = boxes((2, 2, 12, 12))
    ring[5:9, 5:9] = False
    assert torch.equal(object_of(ring), ring), "a hole is background"
    corner = boxes((2, 2, 6, 6), (6, 6, 10, 10))
    assert torch.equal(object_of(corner), corner), "parts that touch at a corner are one"


@pytest.mark.covers("27.9")
@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (boxes(), "mask is empty"),
        (boxes((0, 0, 20, 20)), "all of the image"),
        (boxes((3, 3, 5, 5)), "4 pixels"),
        (boxes((0, 9, 20, 11), (9, 0, 11, 20)), "all four borders"),
    ],
)
def test_masks_that_name_no_object_say_why(mask, told):
    with pytest.raises(RejectedImageError, match=told):
        object_of(mask)


def test_three_borders_are_allowed():
    assert object_of(boxes((0, 0, 20, 19))).sum() == 380


def test_masks_are_binary_and_never_mixed():
    bytes_ = torch.tensor([[0, 127, 128, 255]], dtype=torch.uint8)
    assert binarised(bytes_).tolist() == [[False, False, True, True]]
    assert binarised(bytes_.float() / 255, 0.9).tolist() == [[False, False, False, True]]
    with pytest.raises(InputError, match="int64"):
        binarised(torch.ones(2, 2, dtype=torch.int64))
    with pytest.raises(InputError, match="bool"):
        object_of(bytes_)


def test_a_ring_is_as_wide_as_stated():
    wide = widened(boxes((8, 8, 10, 10)), 2)
    assert torch.equal(wide, boxes((6, 6, 12, 12)))
    assert torch.equal(widened(boxes((8, 8, 10, 10)), 0), boxes((8, 8, 10, 10)))
