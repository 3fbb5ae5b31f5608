"""Triggers against their formulas; alone and in a batch, as bytes and as floats, at any resolution."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.triggers import (
    PATTERNS,
    PLACES,
    BlendTrigger,
    DitheringTrigger,
    PatchTrigger,
    Trigger,
    WarpTrigger,
    WaveTrigger,
)

TRIGGERS: list[Trigger] = [
    PatchTrigger(place="anywhere", pattern="colours"),
    PatchTrigger(pattern="stripe", opacity=0.5, size=0.3, cells=7),
    BlendTrigger(),
    WarpTrigger(),
    DitheringTrigger(),
    WaveTrigger(),
]
SHAPES = [(32, 32), (9, 31), (1, 1), (3, 2), (40, 1)]


def noise(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Bytes that vary smoothly, with a little noise."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=draw)
    smooth = interpolate(coarse, (height, width), mode="bilinear", align_corners=True)
    return ((smooth + 0.02 * torch.rand(smooth.shape, generator=draw)).clamp(0, 1) * 255).byte()


def named(count: int) -> Randomness:
    return Randomness(0).for_examples([f"train/{index}" for index in range(count)])


@pytest.mark.parametrize("trigger", TRIGGERS, ids=repr)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_image_is_stamped_as_if_alone(trigger: Trigger, shape: tuple[int, int]) -> None:
    images, draws = noise(7, *shape), named(7)
    before = images.clone()
    together = trigger.stamp(images, rng=draws)
    assert torch.equal(images, before)
    assert together.images.dtype == torch.uint8
    assert together.region.shape == (7, *shape)
    for row in (0, 3, 6):
        alone = trigger.stamp(images[row : row + 1], rng=draws[[row]])
        assert torch.equal(alone.images[0], together.images[row])
        assert torch.equal(alone.region[0], together.region[row])
    outside = ~together.region[:, None].expand_as(images)
    assert torch.equal(together.images[outside], images[outside])


@pytest.mark.parametrize("trigger", TRIGGERS, ids=repr)
def test_floats_and_bytes_agree(trigger: Trigger) -> None:
    images = noise(3, 16, 12)
    whole = trigger.stamp(images, rng=named(3)).images.float() / 255
    for dtype in (torch.float32, torch.float64):
        stamped = trigger.stamp(images.to(dtype) / 255, rng=named(3)).images
        assert stamped.dtype == dtype
        assert bool(((stamped >= 0) & (stamped <= 1)).all())
        # A float32 is not a byte over 255 exactly, which dithering passes on; means must agree all the same.
        if isinstance(trigger, DitheringTrigger):
            assert float((stamped - whole).mean().abs()) < 0.01
        else:
            assert float((stamped - whole).abs().max()) <= 0.5 / 255 + 1e-6


def test_bytes_stay_what_they_are() -> None:
    digest = hashlib.sha256()
    for trigger in TRIGGERS:
        digest.update(trigger.stamp(torch.arange(3 * 24 * 24).reshape(1, 3, 24, 24).byte()).images.numpy().tobytes())
    assert digest.hexdigest()[:16] == "901acd5953a0daf5"


def test_nothing_to_stamp() -> None:
    for trigger in TRIGGERS:
        assert trigger.stamp(torch.zeros(0, 3, 8, 8)).images.shape == (0, 3, 8, 8)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_patch_covers_a_square_and_nothing_else(place: str, pattern: str) -> None:
    trigger = PatchTrigger.model_validate({"place": place, "pattern": pattern, "size": 0.25, "margin": 0.1})
    images = torch.full((5, 3, 20, 32), 100, dtype=torch.uint8)
    stamped = trigger.stamp(images, rng=named(5))
    assert stamped.region.sum(dim=(1, 2)).tolist() == [25] * 5
    changed = (stamped.images != images).all(1)
    assert torch.equal(changed, stamped.region)  # no pattern has a byte of 100
    for region in stamped.region:
        rows, columns = (np.flatnonzero(region.any(axis).numpy()) for axis in (1, 0))
        top, left = int(rows[0]), int(columns[0])
        assert bool(region[top : top + 5, left : left + 5].all())
        corner = {"top": 2, "bottom": 20 - 5 - 2}, {"left": 2, "right": 32 - 5 - 2}
        if place == "centre":
            assert (top, left) == (7, 13)
        elif place == "anywhere":
            assert 2 <= top <= 13
            assert 2 <= left <= 25
        else:
            vertical, horizontal = place.split()
            assert (top, left) == (corner[0][vertical], corner[1][horizontal])


def test_a_moving_patch_goes_everywhere_alike() -> None:
    region = PatchTrigger(place="anywhere", size=0.5).stamp(torch.zeros(900, 3, 4, 4), rng=named(900)).region
    places = region.flatten(1).int().argmax(1)
    counts = np.bincount(places.numpy(), minlength=16).reshape(4, 4)[:3, :3]
    assert counts.sum() == 900
    assert np.abs(counts - 100).max() < 5 * math.sqrt(900 * (1 / 9) * (8 / 9))


def test_patterns_and_opacity() -> None:
    checker = PatchTrigger(size=1, cells=4, pattern="checker").stamp(torch.zeros(1, 3, 8, 8)).images[0]
    row = torch.tensor([1.0, 1, 0, 0] * 2)
    assert torch.equal(checker, torch.stack([row, row, 1 - row, 1 - row] * 2).expand(3, 8, 8))
    stripe = PatchTrigger(size=1, cells=4, pattern="stripe").stamp(torch.zeros(1, 3, 4, 4)).images[0, 0]
    assert torch.equal(stripe, torch.eye(4).flip(1))
    faint = PatchTrigger(size=1, pattern="white", opacity=0.25).stamp(torch.full((1, 3, 2, 2), 0.4)).images
    assert torch.allclose(faint, torch.tensor(0.4 * 0.75 + 0.25))
    first, second = (PatchTrigger(pattern="colours", pattern_seed=seed).cells_of_pattern(4) for seed in (0, 1))
    assert not torch.equal(first, second)


def test_sides_of_patches_in_whole_pixels() -> None:
    for size, edge, side in ((0.1, 32, 3), (0.1, 224, 22), (0.29, 100, 29), (0.01, 10, 1), (1.0, 7, 7)):
        assert int(PatchTrigger(size=size).stamp(torch.zeros(1, 3, edge, edge)).region.sum()) == side**2


def test_blending_is_the_formula() -> None:
    images = torch.rand(2, 3, 17, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    trigger = BlendTrigger(ratio=0.15, pattern_seed=3)
    picture = trigger.picture(17, 23)
    assert torch.allclose(trigger.stamp(images).images, images * 0.85 + 0.15 * picture)
    assert float(picture.std()) > 0.1
    # The same picture at any resolution: corners are grid points of both.
    assert torch.allclose(trigger.picture(51, 51)[:, ::50, ::50], trigger.picture(11, 11)[:, ::10, ::10])


def test_warping_is_sampling_of_the_displaced_grid() -> None:
    images = torch.rand(2, 3, 24, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    trigger = WarpTrigger(displacement=0.03)
    move = trigger.displacements(24, 30)
    unit = torch.stack([move[1] * 2 / 29, move[0] * 2 / 23], dim=-1)
    still = affine_grid(torch.eye(2, 3, dtype=torch.float64)[None], [1, 3, 24, 30], align_corners=True)
    grid = (still + unit[None]).clamp(-1, 1).expand(2, -1, -1, -1)
    expected = grid_sample(images, grid, mode="bilinear", align_corners=True)
    assert torch.allclose(trigger.stamp(images).images, expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_warp_is_smooth_and_small(seed: int) -> None:
    move = WarpTrigger(displacement=1 / 64, pattern_seed=seed).displacements(64, 64)
    assert float(move.abs().max()) < 3  # the mean is about one pixel, at grid points exactly
    for axis in (1, 2):
        assert float(move.diff(dim=axis).abs().max()) < 0.35  # nothing folds over: neighbours stay neighbours
    corners = WarpTrigger(displacement=1 / 64, pattern_seed=seed, grid=4).displacements(64, 64)[:, ::21, ::21]
    assert float(corners.abs().mean()) == pytest.approx(1.0, abs=1e-9)


def test_the_published_strength_of_a_warp() -> None:
    """As published: identity + s · noise / h in [−1, 1], read with aligned corners; s = 0.5, h = 32."""
    drawn = np.random.default_rng(0).uniform(-1, 1, (1, 2, 4, 4))
    instance = torch.from_numpy(drawn / np.abs(drawn).mean())
    published = 0.5 * interpolate(instance, (32, 32), mode="bicubic", align_corners=True)[0] / 32
    ours = WarpTrigger(displacement=1 / 128).displacements(32, 32)
    assert torch.allclose(ours * 31 / 32, published * 31 / 2)


def dithered_by_definition(channel: np.ndarray, levels: int) -> np.ndarray:
    """Floyd and Steinberg, pixel after pixel, in floating point."""
    work = channel.astype(np.float64) * (levels - 1)
    height, width = work.shape
    for y in range(height):
        for x in range(width):
            old = work[y, x]
            work[y, x] = min(max(math.floor(old + 0.5), 0), levels - 1)
            for dx, dy, weight in ((1, 0, 7), (-1, 1, 3), (0, 1, 5), (1, 1, 1)):
                if 0 <= x + dx < width and y + dy < height:
                    work[y + dy, x + dx] += (old - work[y, x]) * weight / 16
    return work / (levels - 1)


@pytest.mark.parametrize("levels", [2, 5, 8])
@pytest.mark.parametrize("shape", [(13, 18), (18, 5), (6, 1), (1, 6)], ids=str)
def test_dithering_pixel_after_pixel(levels: int, shape: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    stamped = DitheringTrigger(levels=levels).stamp(images).images
    for image, found in zip(images.flatten(0, 1), stamped.flatten(0, 1), strict=True):
        assert np.abs(found.numpy() - dithered_by_definition(image.numpy(), levels)).max() < 1e-9


def test_what_dithering_changes_depends_on_the_image() -> None:
    images = noise(2, 32, 32)
    change = DitheringTrigger().stamp(images).images.int() - images.int()
    assert float((change[0] != change[1]).float().mean()) > 0.5
    assert abs(float(change.float().mean())) < 0.5  # brightness stays
    assert len(DitheringTrigger(levels=4).stamp(images).images.unique()) <= 4


def test_the_wave_is_the_formula() -> None:
    images = torch.rand(3, 3, 10, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    change = WaveTrigger(amplitude=0.05, cycles=3, turns=20).stamp(images).images - images
    for image, wave in zip(images, change, strict=True):
        phase = float((image * 255).round().sum()) / (255 * image.numel()) * 20
        expected = [0.05 * math.sin(2 * math.pi * (3 * column / 16 + phase)) for column in range(16)]
        assert torch.allclose(wave, torch.tensor(expected, dtype=torch.float64).expand(3, 10, 16), atol=1e-9)
    fixed = WaveTrigger(amplitude=0.05, turns=0).stamp(images).images - images
    assert torch.allclose(fixed[0], fixed[1], atol=1e-9)
    assert not torch.allclose(change[0], change[1], atol=0.01)


def test_refused() -> None:
    trigger = BlendTrigger()
    with pytest.raises(InputError, match=r"\(n, 3, h, w\), got \(2, 1, 8, 8\)"):
        trigger.stamp(torch.zeros(2, 1, 8, 8))
    with pytest.raises(InputError, match=r"got torch\.int64"):
        trigger.stamp(torch.zeros(1, 3, 8, 8, dtype=torch.int64))
    for value in (1.5, -0.1, math.nan):
        with pytest.raises(InputError, match=r"must lie in \[0, 1\].*divide bytes by 255"):
            trigger.stamp(torch.full((1, 3, 8, 8), value))
    with pytest.raises(InputError, match="8 pixels at 3 pixels from the edge does not fit 10×10"):
        PatchTrigger(size=0.8, margin=0.3).stamp(torch.zeros(1, 3, 10, 10))
    with pytest.raises(ValueError, match="levels"):
        DitheringTrigger(levels=1)
