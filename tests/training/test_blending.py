"""Who is blended with whom, how labels are weighed, and when a blend is plain."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training.mixing import (
    Draw,
    blend_images,
    blend_targets,
    draw_blend,
    plain_where_nearly_whole,
    share_gap,
)
from snellen.training.objectives import cross_entropy

COUNT = 60
RNG = Randomness(2).for_examples([str(number) for number in range(COUNT)])
IMAGES = torch.rand(COUNT, 3, 6, 5, generator=torch.Generator().manual_seed(0))


def drawn(parts: int, **options: object) -> Draw:
    return draw_blend(RNG, COUNT, parts=parts, alpha=1.0, like=IMAGES, **options)  # type: ignore[arg-type]


@pytest.mark.covers("31.6")
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_every_part_is_a_permutation_and_shares_sum_to_one(parts: int) -> None:
    draw = drawn(parts)
    assert draw.parts.shape == (parts, COUNT)
    assert draw.shares.shape == (COUNT, parts)
    for row in draw.parts:
        assert torch.equal(row.sort().values, torch.arange(COUNT))
    assert torch.allclose(draw.shares.sum(1), torch.ones(COUNT))
    assert len({tuple(row.tolist()) for row in draw.parts}) == parts
    assert torch.equal(draw.parts[0], torch.arange(COUNT)) == (parts == 2), "of two, the first is the image itself"
    assert float(draw.shares.std(0).min()) > 0.05, "each blend its own"
    assert float((draw.shares.mean(0) - 1 / parts).abs().max()) < 0.1
    published = drawn(parts, one_share=True).shares
    assert torch.equal(published, published[:1].expand_as(published))
    assert float(published.sum(1)[0]) == pytest.approx(1)


@pytest.mark.covers("31.7")
def test_labels_follow_shares_and_not_areas() -> None:
    draw, labels = drawn(3), torch.arange(COUNT) % 7
    scores = torch.randn(COUNT, 7, generator=torch.Generator().manual_seed(3))
    targets = blend_targets(labels, draw, 7)
    by_hand = sum(
        draw.shares[:, part] * F.cross_entropy(scores, labels[draw.parts[part]], reduction="none") for part in range(3)
    )
    assert torch.allclose(cross_entropy(scores, targets), by_hand, atol=1e-5)
    assert torch.allclose(blend_targets(F.one_hot(labels, 7).float(), draw, 7), targets)
    # All of the area to the first part: the labels stay, and the gap tells.
    masks = torch.zeros(COUNT, 3, 6, 5)
    masks[:, 0] = 1
    gap = share_gap(masks, draw.shares)
    assert torch.allclose(gap, (2 * (1 - draw.shares[:, 0])) / 3, atol=1e-6)
    assert float(share_gap(draw.shares[:, :, None, None].expand(-1, -1, 6, 5), draw.shares).max()) < 1e-6


@pytest.mark.covers("31.5")
def test_a_blend_stays_between_its_parts() -> None:
    draw = drawn(3)
    masks = torch.randn(COUNT, 3, 6, 5, generator=torch.Generator().manual_seed(4)).mul(3).softmax(1)
    blends, pieces = blend_images(IMAGES, draw.parts, masks), IMAGES[draw.parts]
    assert bool((blends <= pieces.amax(0) + 1e-6).all())
    assert bool((blends >= pieces.amin(0) - 1e-6).all())
    assert torch.allclose(blends, torch.einsum("nphw,pnchw->nchw", masks, pieces), atol=1e-6)
    assert torch.allclose(
        blend_images(IMAGES, draw.parts, draw.shares), torch.einsum("np,pnchw->nchw", draw.shares, pieces), atol=1e-6
    )


@pytest.mark.covers("31.9")
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_a_blend_of_nearly_one_image_is_plain(parts: int) -> None:
    masks = torch.randn(3, parts, 4, 4, generator=torch.Generator().manual_seed(5)).softmax(1)
    rest = torch.full((parts - 1,), 0.02 / (parts - 1))
    whole, last = torch.cat([torch.tensor([0.98]), rest]), torch.cat([rest, torch.tensor([0.98])])
    middling = torch.full((parts,), 1 / parts)
    shares = torch.stack([whole, last, middling])
    changed = plain_where_nearly_whole(masks, shares, 0.03)
    assert torch.equal(changed[:2], shares[:2, :, None, None].expand(-1, -1, 4, 4))
    assert torch.equal(changed[2], masks[2])
    assert torch.allclose(changed.sum(1), torch.ones(3, 4, 4))
    assert torch.equal(plain_where_nearly_whole(masks, shares, 0.0), masks)


@pytest.mark.covers("31.9")
def test_the_published_margin_looks_at_the_first_share() -> None:
    masks = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(5)).softmax(1)
    shares = torch.tensor([[0.01, 0.5, 0.49], [0.4, 0.3, 0.3]])
    assert torch.equal(plain_where_nearly_whole(masks, shares, 0.03), masks), "no image has nearly all"
    published = plain_where_nearly_whole(masks, shares, 0.03, parity=True)
    assert torch.equal(published[0], shares[0, :, None, None].expand(-1, 4, 4))
    assert torch.equal(published[1], masks[1])
    two = torch.rand(50, 1, generator=torch.Generator().manual_seed(6))
    shares, masks = torch.cat([two, 1 - two], 1), torch.rand(50, 2, 2, 2)
    ours, theirs = (plain_where_nearly_whole(masks, shares, 0.1, parity=parity) for parity in (False, True))
    assert torch.equal(ours, theirs), "of two, both tests are one"


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_images_than_parts(count: int) -> None:
    with pytest.raises(InputError, match=f"a blend of 3 images needs a batch of at least 3, and this one has {count}"):
        draw_blend(RNG[range(count)], count, parts=3, alpha=1.0, like=IMAGES)
