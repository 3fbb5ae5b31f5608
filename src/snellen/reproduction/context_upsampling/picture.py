"""A picture of spectra: the same white noise, doubled by filters of growing length, and the responses of these."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from snellen.reproduction.shared.documents import Pictures
from snellen.runs.picture_grid import picture_grid
from snellen.systems.context_upsampling.spectra import filter_response, power_spectrum
from snellen.systems.context_upsampling.upsampling import interpolation_taps

#: Filters behind zero insertion, by name.
FILTERS: dict[str, Tensor] = {
    "none": torch.tensor([1.0]),
    "nearest, 2 taps": torch.tensor([1.0, 1.0]),
    "bilinear, 3 taps": interpolation_taps(3, "bilinear"),
    "sinc, 7 taps": interpolation_taps(7, "sinc"),
    "sinc, 11 taps": interpolation_taps(11, "sinc"),
    "sinc, 31 taps": interpolation_taps(31, "sinc"),
}

#: Pixels along each side of the doubled noise.
SIDE = 96


def doubled(taps: Tensor, *, count: int = 64, seed: int = 0) -> Tensor:
    """White noise of mean 0 with zeros inserted, and a filter over both axes: (n, 1, 96, 96)."""
    noise = torch.randn(count, 1, SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(seed))
    spread = torch.zeros(count, 1, SIDE, SIDE)
    spread[..., ::2, ::2] = noise
    reach = len(taps) // 2
    wide = F.pad(spread, (reach,) * 4, mode="circular")
    return F.conv2d(wide, torch.outer(taps, taps)[None, None])[..., :SIDE, :SIDE]


def grey(values: Tensor, low: float) -> Tensor:
    """Decibels below the largest value as bytes, light at the largest and black at ``low``: uint8 (3, h, w)."""
    decibels = 10 * (values / values.max()).clamp(min=1e-12).log10()
    return (225 * (1 - decibels / low)).clamp(0, 225).byte().expand(3, -1, -1)


def spectra() -> Image.Image:
    """A column for each filter: its response, and the spectrum of doubled noise."""
    kernels = [torch.outer(taps, taps) for taps in FILTERS.values()]
    responses = [grey(filter_response(kernel, size=SIDE).square(), -40.0) for kernel in kernels]
    powers = [grey(power_spectrum(doubled(taps), window="none"), -40.0) for taps in FILTERS.values()]
    rows = [
        (responses, "response of the filter, frequency 0 in the middle, light to black: 0 to 40 dB below the largest"),
        (
            powers,
            "spectrum of white noise behind zero insertion and the filter: outside of the middle square it is repeated",
        ),
    ]
    return picture_grid("What a filter of upsampling leaves of the repeated spectrum", list(FILTERS), rows)


def draw(root: Path, target: Path) -> None:
    """Draw it; nothing is read."""
    spectra().save(target, "WEBP", lossless=True)


PICTURES: Pictures = {"context-upsampling-spectra": draw}
