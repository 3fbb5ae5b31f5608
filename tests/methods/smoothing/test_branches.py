"""The halves are disjoint and complete, and what is shown of one follows from it alone."""

import pytest
import torch
import torch.nn.functional as F

from snellen.core.errors import InputError
from snellen.methods.smoothing.branches import HALVES, VIEWS, contrast, filled, half_masks, pick, place


@pytest.mark.covers("13.1")
@pytest.mark.parametrize("size", [(2, 2), (28, 28), (6, 10), (10, 6)])
def test_parts_are_disjoint_and_complete_and_have_a_diagonal_of_every_block(size):
    first, second = half_masks(*size)
    assert bool((first ^ second).all())
    assert int(first.sum()) == int(second.sum()) == size[0] * size[1] // 2
    blocks = first.view(size[0] // 2, 2, size[1] // 2, 2)
    assert torch.equal(blocks[:, 0, :, 0], blocks[:, 1, :, 1])
    assert torch.equal(blocks[:, 0, :, 1], blocks[:, 1, :, 0])
    assert not bool((blocks[:, 0, :, 0] & blocks[:, 0, :, 1]).any())


@pytest.mark.parametrize("half", HALVES)
def test_a_half_goes_back_to_its_own_pixels(half):
    images = torch.rand(2, 3, 6, 10)
    mask = half_masks(6, 10)[half]
    assert torch.equal(place(pick(images, half), half), images * mask)
    assert torch.equal(place(pick(images, half), half, pick(images, 1 - half)), images)


@pytest.mark.covers("13.1")
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("half", HALVES)
def test_no_view_depends_on_the_other_half(view, half):
    images = torch.rand(2, 3, 6, 8)
    changed = torch.where(half_masks(6, 8)[half], images, torch.rand(2, 3, 6, 8))
    assert torch.equal(VIEWS[view](pick(images, half), half), VIEWS[view](pick(changed, half), half))
    other = VIEWS[view](pick(images, 1 - half), half)
    assert not torch.equal(VIEWS[view](pick(images, half), half), other)


@pytest.mark.parametrize("half", HALVES)
def test_views_are_what_they_are_on_the_whole_canvas(half):
    images = torch.randn(2, 3, 6, 8)
    mask = half_masks(6, 8)[half]
    canvas = images * mask
    pooled = F.interpolate(F.max_pool2d(canvas, 2), scale_factor=2)
    assert torch.equal(contrast(pick(images, half), half), torch.where(mask, canvas + pooled, 0.0))
    cross = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]).expand(3, 1, 3, 3)
    near = F.conv2d(canvas, cross, padding=1, groups=3)
    count = F.conv2d(mask.float().expand(1, 3, 6, 8), cross, padding=1, groups=3)
    torch.testing.assert_close(filled(pick(images, half), half), torch.where(mask, images, near / count.clamp_min(1)))


@pytest.mark.parametrize("size", [(5, 4), (4, 5)])
def test_odd_images_are_refused(size):
    for call in (lambda: half_masks(*size), lambda: pick(torch.rand(1, 3, *size), 0)):
        with pytest.raises(InputError, match="expected an even height and width"):
            call()
