"""Colours and sharpness of a batch, beside torchvision's."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training.transforms import colour_jitter, gaussian_blur, grey, random_blur, turn_hue


def images(count: int = 4, side: int = 9, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("turn", [-0.4, -0.1, 0.0, 0.1, 0.5])
def test_a_turned_hue_is_torchvisions(turn: float) -> None:
    shown = images()
    shown[0] = 0.5  # a grey has no hue
    assert torch.allclose(turn_hue(shown, torch.full((4,), turn)), reference.adjust_hue(shown, turn), atol=1e-5)


def test_each_operation_of_the_jitter_is_torchvisions() -> None:
    shown, rng = images(), Randomness(3).bind(4)
    drawn = rng.uniform("jitter", (5,))
    for place, adjust in enumerate(
        (reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation, reference.adjust_hue)
    ):
        amounts = [0.0] * 4
        amounts[place] = 0.4
        changed, targets = colour_jitter(*amounts)(shown, torch.arange(4), rng)
        for row in range(4):
            offset = float((2 * drawn[row, place] - 1) * 0.4)
            expected = adjust(shown[row], offset if place == 3 else 1 + offset)
            assert torch.allclose(changed[row], expected, atol=2e-4), (place, row)
        assert targets.tolist() == [0, 1, 2, 3]


def test_only_a_share_is_jittered_and_a_draw_belongs_to_its_image() -> None:
    shown = images(40)
    rng = Randomness(0).bind(40)
    changed, _ = colour_jitter(0.4, 0.4, 0.4, 0.1, share=0.5)(shown, torch.zeros(40), rng)
    same = (changed - shown).abs().amax((1, 2, 3)) < 1e-5
    assert 10 < int(same.sum()) < 30
    alone, _ = colour_jitter(0.4, 0.4, 0.4, 0.1, share=0.5)(shown[7:8], torch.zeros(1), rng[[7]])
    assert torch.allclose(alone, changed[7:8])
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1


def test_blur_is_torchvisions_and_each_image_has_its_own() -> None:
    shown, deviations = images(side=16), torch.tensor([0.5, 0.5, 1.5, 0.1])
    blurred = gaussian_blur(shown, deviations)
    for row in range(4):
        expected = reference.gaussian_blur(shown[row], [11, 11], [float(deviations[row])] * 2)
        assert torch.allclose(blurred[row], expected, atol=1e-5)
    beside = gaussian_blur(shown[:2], torch.tensor([1.0, 2.0]))
    assert torch.allclose(gaussian_blur(shown[:1], torch.tensor([1.0])), beside[:1], atol=1e-6), "whatever is beside it"
    drawn, _ = random_blur(0.1, 2.0)(shown, torch.zeros(4), Randomness(0).bind(4))
    assert float((drawn - shown).abs().amax((1, 2, 3)).min()) > 0


def test_grey_keeps_a_grey() -> None:
    assert torch.allclose(grey(torch.full((1, 3, 2, 2), 0.25)), torch.full((1, 1, 2, 2), 0.25), atol=1e-4)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="hue in"):
        colour_jitter(0, 0, 0, 0.6)
    with pytest.raises(InputError, match="brightness"):
        colour_jitter(1.5, 0, 0, 0)
    with pytest.raises(InputError, match="least"):
        random_blur(2.0, 1.0)
