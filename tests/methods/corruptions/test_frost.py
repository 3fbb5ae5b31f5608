"""Frost: crops of a user's textures as published, our own panes with the photographs' figures, the contract."""

import numpy as np
import pytest
import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.frost import PANES, frost, frost_panes
from tests.methods.corruptions.weather import deviations, distances, keeps_the_contract, picture, published


def tells_place(height: int, width: int, index: float = 0.0) -> Tensor:
    """A texture whose red is the row, green the column and blue the index of the texture, in hundredths (mod 100)."""
    rows, columns = torch.meshgrid(torch.arange(height) % 100, torch.arange(width) % 100, indexing="ij")
    return torch.stack((rows / 100, columns / 100, torch.full((height, width), index / 100)))


def test_crops_of_textures_as_published() -> None:
    count, side = 300, 96
    textures = [tells_place(99, 98, index) for index in range(6)]
    images = torch.zeros(count, 3, side, side)
    crops = frost(images, Randomness(0).bind(count), keep=1.0, amount=1.0, textures=textures) * 100
    tops, lefts, which = crops[:, 0, 0, 0].round().int(), crops[:, 1, 0, 0].round().int(), crops[:, 2, 0, 0].round()
    for crop, top, left in zip(crops, tops, lefts, strict=True):
        window = 100 * textures[0][:2, top : top + side, left : left + side]
        torch.testing.assert_close(crop[:2], window, rtol=0, atol=1e-4)
    # All places and all textures, the sixth too; 300 draws miss one of six at the odds of 1e-23.
    assert set(tops.tolist()) == {0, 1, 2, 3}
    assert set(lefts.tolist()) == {0, 1, 2}
    assert set(which.int().tolist()) == set(range(6))


def test_with_parity_the_sixth_texture_and_the_last_places_are_never_drawn() -> None:
    count, side = 300, 96
    textures = [tells_place(99, 98, index) for index in range(6)]
    images = torch.zeros(count, 3, side, side)
    crops = frost(images, Randomness(0).bind(count), keep=1.0, amount=1.0, textures=textures, parity=True) * 100
    assert set(crops[:, 0, 0, 0].round().int().tolist()) == {0, 1, 2}
    assert set(crops[:, 1, 0, 0].round().int().tolist()) == {0, 1}
    assert set(crops[:, 2, 0, 0].round().int().tolist()) == set(range(5))
    # Where a texture fits in one place only, that is taken; the published code fails.
    for few in (textures[:1], [tells_place(96, 96)]):
        crops = frost(images[:2], Randomness(0).bind(2), keep=1.0, amount=1.0, textures=few, parity=True)
        assert crops.shape == (2, 3, side, side)


def test_formula() -> None:
    images = torch.rand(4, 3, 100, 120, generator=torch.Generator().manual_seed(0))
    texture = torch.rand(3, 100, 120, generator=torch.Generator().manual_seed(1))  # one place only
    frosted = frost(images, Randomness(0).bind(4), keep=0.7, amount=0.6, textures=[texture])
    torch.testing.assert_close(frosted, (0.7 * images + 0.6 * texture).clamp(0, 1))


def test_small_images_see_every_fifth_pixel() -> None:
    texture = tells_place(100, 95)
    crop = frost(torch.zeros(1, 3, 20, 19), Randomness(0).bind(1), keep=1.0, amount=1.0, textures=[texture])[0]
    torch.testing.assert_close(crop, texture[:, 2::5, 2::5])


@pytest.mark.parametrize(("height", "width"), [(150, 150), (300, 120), (97, 211)])
def test_small_textures_are_enlarged(height: int, width: int) -> None:
    ramp = torch.linspace(0, 1, 50).expand(3, 40, 50).contiguous()
    crop = frost(torch.zeros(1, 3, height, width), Randomness(0).bind(1), keep=1.0, amount=1.0, textures=[ramp])[0]
    slope = (crop[0, 50, 60] - crop[0, 50, 40]) / 20
    assert float(slope) == pytest.approx(1 / 49 / max(height / 40, width / 50), rel=0.05)


@pytest.mark.parametrize(
    "textures", [[], [torch.rand(1, 9, 9)], [torch.rand(9, 9)], [torch.zeros(3, 9, 9, dtype=torch.uint8)]]
)
def test_textures_of_another_kind_are_refused(textures: list[Tensor]) -> None:
    with pytest.raises(InputError, match="frost"):
        frost(torch.rand(1, 3, 9, 9), Randomness(0).bind(1), keep=1.0, amount=1.0, textures=textures)


def test_panes_have_the_photographs_figures() -> None:
    frequency = 224 * torch.hypot(torch.fft.fftfreq(224)[:, None], torch.fft.fftfreq(224))
    window = torch.hann_window(224) * torch.hann_window(224)[:, None]
    bands = [(frequency >= low) & (frequency < 2 * low) for low in (4, 8, 16, 32)]
    for pane, painted in zip(PANES, frost_panes(torch.device("cpu")), strict=True):
        assert 0 <= float(painted.min()) < float(painted.max()) <= 1
        np.testing.assert_allclose(painted.mean((1, 2)), pane.mean, atol=0.005)
        np.testing.assert_allclose(painted.std((1, 2)), pane.deviation, atol=0.005)
        crop = painted.mean(0)[40:264, 100:324]
        power = torch.fft.fft2((crop - crop.mean()) * window).abs() ** 2
        levels = [float(power[band].mean().log()) for band in bands]
        slope = np.polyfit(np.log([6, 12, 24, 48]), levels, 1)[0]
        assert -2.4 < slope < -1.2  # photographs: -1.2 to -1.9


def test_panes_are_painted_once() -> None:
    first, second = frost_panes(torch.device("cpu")), frost_panes(torch.device("cpu"))
    assert all(one is other for one, other in zip(first, second, strict=True))


def test_figures_are_near_the_peers() -> None:
    differences, _ = deviations(frost, 48)
    assert np.abs(differences[:, :3]).max() < 0.06  # means
    assert np.abs(differences[:, 3:6]).max() < 0.025  # standard deviations
    assert np.abs(differences[:, 6:]).max() < 0.25  # log10 of the power


def test_contract() -> None:
    keeps_the_contract(frost, [*published("frost"), {"keep": 0.93, "amount": 0.05}])


def test_nothing_is_the_identity_and_more_changes_more() -> None:
    images = picture()[None]
    assert torch.equal(frost(images, Randomness(0).bind(1), keep=1.0, amount=0.0), images)
    grown = distances(frost, [{"keep": 1 - amount / 2, "amount": amount} for amount in (0.0, 0.1, 0.3, 0.5)])
    assert grown == sorted(grown)
