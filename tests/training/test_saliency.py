"""Saliency finds what stands out, and SaliencyMix pastes it."""

from __future__ import annotations

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training.mixing import partners, saliency_mix, salient_pixels, spectral_residual

COUNT = 40
RNG = Randomness(4).for_examples([str(number) for number in range(COUNT)])


def spots(side: int = 32, spot: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with one bright square each, and its upper left corner."""
    generator = torch.Generator().manual_seed(0)
    images = 0.2 + 0.05 * torch.rand(COUNT, 3, side, side, generator=generator)
    corners = torch.randint(2, side - spot - 2, (COUNT, 2), generator=generator)
    for image, (row, column) in zip(images, corners.tolist(), strict=True):
        image[:, row : row + spot, column : column + spot] += 0.5
    return images, corners


@pytest.mark.parametrize(("side", "spot"), [(32, 5), (96, 12), (33, 6)])
def test_the_most_salient_pixel_is_in_what_stands_out(side: int, spot: int) -> None:
    images, corners = spots(side, spot)
    distance = (salient_pixels(images) - (corners + (spot - 1) / 2)).abs().amax(1)
    assert float((distance <= spot / 2 + 2).float().mean()) == 1
    saliency = spectral_residual(images)
    assert saliency.shape == (COUNT, side, side)
    assert float(saliency.min()) >= 0
    assert torch.allclose(saliency.amax((1, 2)), torch.ones(COUNT))


def test_saliency_does_not_depend_on_the_batch_and_moves_with_the_image() -> None:
    images, _ = spots()
    together = spectral_residual(images)
    assert torch.allclose(spectral_residual(images[7:8]), together[7:8], atol=1e-5)
    turned = spectral_residual(images[:, :, :, ::1].flip(3))
    assert torch.allclose(turned, together.flip(2), atol=1e-3)


def test_an_even_image_is_salient_in_its_middle() -> None:
    assert salient_pixels(torch.full((2, 3, 10, 8), 0.3)).tolist() == [[5, 4], [5, 4]]


def test_the_salient_part_is_pasted_and_labels_follow_the_area() -> None:
    images, corners = spots()
    labels, partner = torch.arange(COUNT), partners(RNG)
    mixed, targets = saliency_mix(COUNT)(images, labels, RNG)
    pasted = (mixed != images).any(1)
    assert torch.allclose(targets.sum(1), torch.ones(COUNT))
    for row in range(COUNT):
        if partner[row] == row:
            continue
        share = float(targets[row, partner[row]])
        assert float(pasted[row].float().mean()) == pytest.approx(share, abs=1e-5)
        assert torch.equal(mixed[row][:, pasted[row]], images[partner[row]][:, pasted[row]]), "at the same place"
        if share > 0.1:
            middle = corners[partner[row]] + 2
            assert bool(pasted[row, middle[0], middle[1]]), "what stands out in the partner"
    assert torch.equal(saliency_mix(COUNT, probability=0.0)(images, labels, RNG)[0], images)


def test_refusals() -> None:
    with pytest.raises(InputError, match="alpha is a number above 0, got 0"):
        saliency_mix(3, 0.0)
    with pytest.raises(InputError, match="a probability lies in"):
        saliency_mix(3, probability=2.0)
