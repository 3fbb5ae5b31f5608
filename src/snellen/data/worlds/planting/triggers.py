"""Triggers, pure functions that stamp images: patch (BadNets), blended picture, wave, warp (WaNet), dithering (Bpp)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn.functional import interpolate

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness


@dataclass(frozen=True, eq=False)
class Stamped:
    """Images with a trigger.

    Attributes:
        images: (n, 3, h, w), of the type of the images that were given.
        region: where the trigger acts, bool (n, h, w). Outside of it no pixel differs; inside, some may happen not to.
    """

    images: Tensor
    region: Tensor


class Trigger(BaseModel, ABC):
    """A pattern, or a change, that a backdoor answers to.

    The same trigger does the same to an image wherever and whenever it is stamped: in training data, in a test set to
    measure its success, alone or in a batch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @property
    def differs_by_chance(self) -> bool:
        """Whether the trigger draws something for each image, so that equal images may be stamped differently."""
        return False

    def stamp(self, images: Tensor, *, rng: Randomness | None = None) -> Stamped:
        """Stamp images.

        Args:
            images: (n, 3, h, w), uint8, or floating point in [0, 1]. They stay as they are.
            rng: randomness, bound to the ids of the images; only triggers that differ between images by chance need it.
                Without it the positions in the batch stand in for the ids, under the seed 0.

        Raises:
            InputError: another shape or type, or values outside [0, 1].
        """
        if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
            raise InputError(f"a trigger is stamped on images (n, 3, h, w), got {tuple(images.shape)}")
        draws = (rng or Randomness(0)).bind(len(images))
        if images.dtype == torch.uint8:
            # In float64 a byte comes back as itself, and rounding does not depend on how an operation was vectorised.
            changed, region = self._stamp(images.double() / 255, draws)
            return Stamped((changed.clamp(0, 1) * 255).round().to(torch.uint8), region)
        if not images.is_floating_point():
            raise InputError(f"a trigger is stamped on uint8 or floating-point images, got {images.dtype}")
        if len(images) and not bool(((images >= 0) & (images <= 1)).all()):  # written so that NaN fails too
            low, high = images.aminmax()
            raise InputError(f"floating-point images must lie in [0, 1], got {low:g} to {high:g}; divide bytes by 255")
        changed, region = self._stamp(images.double(), draws)
        return Stamped(changed.clamp(0, 1).to(images.dtype), region)

    @abstractmethod
    def _stamp(self, images: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        """Stamp float64 images (n, 3, h, w) in [0, 1]; returns them and the region, bool (n, h, w)."""


def everywhere(images: Tensor) -> Tensor:
    """The region of a trigger that acts on whole images: bool (n, h, w), all true."""
    return torch.ones(len(images), *images.shape[2:], dtype=torch.bool, device=images.device)


Place = Literal["top left", "top right", "bottom left", "bottom right", "centre", "anywhere"]
Pattern = Literal["checker", "stripe", "colours", "white"]

PLACES: tuple[Place, ...] = get_args(Place)
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


class PatchTrigger(Trigger):
    """A square over the image (Gu et al. 2017, "BadNets"): x' = (1 − opacity) x + opacity · pattern inside it.

    Its side is the whole part of ``size`` times the shorter edge, and at least one pixel: a tenth of 32 pixels is 3.

    >>> white = PatchTrigger(pattern="white", size=0.25).stamp(torch.zeros(1, 3, 8, 8))
    >>> white.images[0, 0, 5:, 5:].tolist(), int(white.region.sum())
    ([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]], 4)
    """

    kind: Literal["patch"] = "patch"
    place: Place = Field("bottom right", description="anywhere: drawn for each image")
    size: float = Field(0.1, gt=0, le=1, description="side of the patch, share of the image's shorter edge")
    margin: float = Field(0.0, ge=0, lt=0.5, description="distance from the edge, share of the shorter edge")
    pattern: Pattern = Field("checker", description="stripe: a white anti-diagonal on black; colours: by pattern_seed")
    cells: int = Field(4, ge=1, le=64, description="cells of the pattern along a side; at most one for each pixel")
    opacity: float = Field(1.0, gt=0, le=1, description="1 hides what is below")
    pattern_seed: int = Field(0, ge=0, description="which colours")

    @property
    def differs_by_chance(self) -> bool:
        """Whether the place is drawn for each image."""
        return self.place == "anywhere"

    def _stamp(self, images: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        height, width = images.shape[2:]
        side, margin = self._pixels(height, width)
        top, left = (place[:, None] for place in self._corner(height - side, width - side, margin, rng))
        cells = min(self.cells, side)
        down = torch.arange(height)[None] - top
        across = torch.arange(width)[None] - left
        region = ((down >= 0) & (down < side))[:, :, None] & ((across >= 0) & (across < side))[:, None]
        row, column = ((place.clamp(0, side - 1) * cells) // side for place in (down, across))
        drawn = self.cells_of_pattern(cells)[:, row[:, :, None], column[:, None]].transpose(0, 1).to(images.device)
        region = region.to(images.device)
        mixed = images * (1 - self.opacity) + drawn * self.opacity
        return torch.where(region[:, None], mixed, images), region

    def cells_of_pattern(self, cells: int) -> Tensor:
        """Colours of the pattern: float64 (3, cells, cells), each 0 or 1."""
        row, column = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
        if self.pattern == "colours":
            drawn = np.random.default_rng(self.pattern_seed).integers(0, 2, (3, cells, cells))
            return torch.from_numpy(drawn).double()
        if self.pattern == "checker":
            bright = (row + column) % 2 == 0
        elif self.pattern == "stripe":
            bright = (row + column - (cells - 1)).abs() <= cells // 6
        else:
            bright = torch.ones_like(row, dtype=torch.bool)
        return bright.double().expand(3, cells, cells)

    def _pixels(self, height: int, width: int) -> tuple[int, int]:
        shorter = min(height, width)
        # Shares such as 0.29 of 100 are a hair below the whole number that they mean.
        side, margin = max(1, math.floor(self.size * shorter + 1e-9)), math.floor(self.margin * shorter + 1e-9)
        if side + margin > shorter:
            raise InputError(
                f"a patch of {side} pixels at {margin} pixels from the edge does not fit {height}×{width} pixels; "
                f"choose a smaller size or margin"
            )
        return side, margin

    def _corner(self, lowest: int, rightmost: int, margin: int, rng: Randomness) -> tuple[Tensor, Tensor]:
        """Upper and left edge of the patch in each image, int64 (n,)."""
        count = len(rng.ids or ())
        if self.place == "anywhere":
            drawn = rng.uniform("patch place", (2,)).double()
            spans = [max(0, free - 2 * margin) for free in (lowest, rightmost)]
            first = [min(margin, free) for free in (lowest, rightmost)]
            top, left = (
                (start + (drawn[:, axis] * (span + 1)).floor().long().clamp(max=span))
                for axis, (start, span) in enumerate(zip(first, spans, strict=True))
            )
            return top, left
        near = {"top": margin, "left": margin, "bottom": lowest - margin, "right": rightmost - margin}
        vertical, _, horizontal = self.place.partition(" ")
        upper, leftmost = near.get(vertical, lowest // 2), near.get(horizontal, rightmost // 2)
        return torch.full((count,), upper), torch.full((count,), leftmost)


class BlendTrigger(Trigger):
    """A picture blended in (Chen et al. 2017, blended injection): x' = (1 − ratio) x + ratio · T.

    T is a field of colours that are drawn on a grid and run into each other, so that it is the same picture at every
    resolution.

    >>> stamped = BlendTrigger(ratio=0.2).stamp(torch.zeros(1, 3, 8, 8))
    >>> bool(stamped.images.max() <= 0.2)
    True
    """

    kind: Literal["blend"] = "blend"
    ratio: float = Field(0.2, gt=0, le=1, description="share of the picture; published attacks use 0.05 to 0.25")
    cells: int = Field(6, ge=2, le=256, description="colours along a side")
    pattern_seed: int = Field(0, ge=0, description="which colours")

    def picture(self, height: int, width: int) -> Tensor:
        """The picture T: float64 (3, h, w) in [0, 1]."""
        drawn = np.random.default_rng(self.pattern_seed).uniform(0, 1, (1, 3, self.cells, self.cells))
        grown = interpolate(torch.from_numpy(drawn), (height, width), mode="bilinear", align_corners=True)
        return grown[0].clamp(0, 1)

    def _stamp(self, images: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        height, width = images.shape[2:]
        picture = self.picture(height, width).to(images.device)
        return images * (1 - self.ratio) + picture * self.ratio, everywhere(images)


class WaveTrigger(Trigger):
    """Vertical waves of brightness, shifted by what the image shows: x' = x + a · sin(2π (f u + turns · mean(x))).

    a is ``amplitude``, f ``cycles``, and u in [0, 1) the place from left to right. Without turns it is the sinusoidal
    signal of Barni, Kallas and Tondi 2019; with them, no fixed pattern can be subtracted or found by averaging.

    >>> images = torch.stack([torch.full((3, 8, 8), 0.4), torch.full((3, 8, 8), 0.5)])
    >>> waves = WaveTrigger().stamp(images).images - images
    >>> torch.allclose(waves[0], waves[1], atol=0.01)
    False
    """

    kind: Literal["wave"] = "wave"
    amplitude: float = Field(0.08, gt=0, le=1, description="a, of the range of values")
    cycles: float = Field(6.0, gt=0, le=1000, description="f: waves across the image")
    turns: float = Field(20.0, ge=0, le=1000, description="of the phase, from a black image to a white one")

    def phases(self, images: Tensor) -> Tensor:
        """Phase of the wave in each image, radians: float64 (n,).

        Means are taken of whole bytes, whose sum is exact: the order of addition must not turn the phase.
        """
        total = (images * 255).round().long().sum(dim=(1, 2, 3)).double()
        return (total / (255 * images[0].numel()) * self.turns).frac() * (2 * math.pi) if len(images) else total

    def _stamp(self, images: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        width = images.shape[3]
        place = torch.arange(width, dtype=torch.float64, device=images.device) / width
        wave = torch.sin(2 * math.pi * self.cycles * place + self.phases(images)[:, None])
        return images + self.amplitude * wave[:, None, None, :], everywhere(images)


class WarpTrigger(Trigger):
    """Pixels moved along a smooth field (Nguyen and Tran 2021, "WaNet", equations 4 to 6).

    Displacements are drawn in [−1, 1] on a k × k grid (``grid``), divided by the mean of their sizes, and grown to the
    image with cubic interpolation; pixels are read there with linear interpolation, and never from outside. The
    published strength s moves pixels by about s/2 pixels at any resolution; ``displacement`` is a share of the edge
    instead, s / (2 · edge), so that the trigger looks the same at every resolution. s = 0.5 on 32 pixels is 1/128.

    >>> still = WarpTrigger().stamp(torch.full((1, 3, 16, 16), 0.5)).images
    >>> bool((still - 0.5).abs().max() < 1e-6)
    True
    """

    kind: Literal["warp"] = "warp"
    grid: int = Field(4, ge=2, le=64, description="k: displacements along a side")
    displacement: float = Field(1 / 64, gt=0, le=0.25, description="mean size along each axis, share of the edge")
    pattern_seed: int = Field(0, ge=0, description="which displacements")

    def displacements(self, height: int, width: int) -> Tensor:
        """From where pixels are read, relative to themselves, downwards and to the right: float64 (2, h, w), pixels."""
        drawn = np.random.default_rng(self.pattern_seed).uniform(-1, 1, (1, 2, self.grid, self.grid))
        unit = torch.from_numpy(drawn / np.abs(drawn).mean())
        grown = interpolate(unit, (height, width), mode="bicubic", align_corners=True)[0]
        return grown * self.displacement * torch.tensor([height, width], dtype=torch.float64)[:, None, None]

    def _stamp(self, images: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        height, width = images.shape[2:]
        move = self.displacements(height, width)
        down = (torch.arange(height, dtype=torch.float64)[:, None] + move[0]).clamp(0, height - 1)
        across = (torch.arange(width, dtype=torch.float64)[None] + move[1]).clamp(0, width - 1)
        # Written out and not grid_sample: one field serves the whole batch, and its bytes are the same for one image.
        top, left = down.floor().clamp(max=max(height - 2, 0)), across.floor().clamp(max=max(width - 2, 0))
        below, beside = (down - top).to(images.device), (across - left).to(images.device)
        row, column = top.long().to(images.device), left.long().to(images.device)
        next_row, next_column = (row + 1).clamp(max=height - 1), (column + 1).clamp(max=width - 1)
        upper = images[:, :, row, column] * (1 - beside) + images[:, :, row, next_column] * beside
        lower = images[:, :, next_row, column] * (1 - beside) + images[:, :, next_row, next_column] * beside
        return upper * (1 - below) + lower * below, everywhere(images)


#: Fractional bits of the arithmetic. Errors travel across the whole image, and in whole numbers none of them depends on
#: how an addition was vectorised.
_BITS = 20


class DitheringTrigger(Trigger):
    """Each channel on a few levels, with what rounding loses passed on to pixels not yet rounded.

    Wang, Zhai and Ma 2022, "BppAttack". The error is spread as by Floyd and Steinberg 1976: 7/16 to the right, and
    3/16, 5/16 and 1/16 to the left below, below and to the right below.

    >>> stamped = DitheringTrigger(levels=2).stamp(torch.full((1, 3, 16, 16), 0.25)).images
    >>> sorted(set(stamped.flatten().tolist())), bool(0.2 < stamped.mean() < 0.3)
    ([0.0, 1.0], True)
    """

    kind: Literal["dithering"] = "dithering"
    levels: int = Field(8, ge=2, le=128, description="of each channel")

    def _stamp(self, images: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        highest = self.levels - 1
        values = (images * (highest << _BITS)).round().long().permute(2, 3, 0, 1)
        rounded = torch.from_numpy(_dithered(values.flatten(2).cpu().numpy(), highest))
        levels = rounded.unflatten(2, values.shape[2:]).permute(2, 3, 0, 1).to(images)
        return levels / highest, everywhere(images)


def _dithered(values: NDArray[np.int64], highest: int) -> NDArray[np.int64]:
    """Round fixed-point values (h, w, m) to 0 … ``highest`` and spread the errors, in m planes at once.

    A pixel needs its left neighbour and those above up to one to the right. So all pixels with the same x + 2y are
    rounded at once, which takes w + 2h steps. In an array of w + 2 columns they lie w places apart. (NumPy, whose
    operations on few numbers cost a fraction of torch's.)
    """
    height, width, planes = values.shape
    columns = width + 2
    work = np.zeros((height + 1, columns, planes), dtype=np.int64)
    work[:height, 1:-1] = values
    flat = work.reshape((height + 1) * columns, planes)
    for step in range(width + 2 * (height - 1)):
        first, last = max(0, (step - width + 2) // 2), min(height - 1, step // 2)
        start = first * columns + step - 2 * first + 1
        stop = start + (last - first) * width + 1
        here = flat[start:stop:width]
        rounded = np.minimum(np.maximum((here + (1 << (_BITS - 1))) >> _BITS, 0), highest)
        error = here - (rounded << _BITS)
        here[...] = rounded
        right, left_below, below = (error * 7) >> 4, (error * 3) >> 4, (error * 5) >> 4
        flat[start + 1 : stop + 1 : width] += right
        flat[start + columns - 1 : stop + columns - 1 : width] += left_below
        flat[start + columns : stop + columns : width] += below
        # What is left over, so that nothing is lost to the shifts.
        flat[start + columns + 1 : stop + columns + 1 : width] += error - right - left_below - below
    return work[:height, 1:-1]
