"""Where upsampling leaves traces: spectra of maps, a score of the peaks that it repeats, and responses of its kernels.

The artifact score is a definition of ours: energy in small windows around the frequencies at which doubling once or
twice repeats the middle of the spectrum (1/2 and 1/4 cycles a pixel, on the axes and the diagonals), divided by the
energy around each window. 1: no peaks; below 1: a filter has taken more there than around. It needs maps whose energy
lies at low frequencies: white noise of mean 0 has nothing to repeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError

Window = Literal["hann", "none"]

#: Frequencies (down, across) in cycles a pixel where doubling once, and doubling twice, repeats the mean.
REPEATS: tuple[tuple[float, float], ...] = (
    (0.5, 0.0), (0.0, 0.5), (0.5, 0.5), (0.25, 0.0), (0.0, 0.25), (0.25, 0.25), (0.25, -0.25),
)  # fmt: skip

#: Least side of a map that has a spectrum worth the name.
LEAST_SIDE = 16

#: Least side for an artifact score: below, a frequency that is repeated and its surroundings hold one another.
LEAST_SCORED = 32


def power_spectrum(maps: Tensor, *, window: Window = "hann") -> Tensor:
    """Mean power of maps of one size, (n, c, h, w) → float64 (h, w), frequency 0 in the middle.

    The mean of each map is removed, then a window laid over it, so that borders leave no cross. Powers are averaged
    over images and channels; take the logarithm afterwards, of the mean.

    Args:
        maps: images, features, or differences of an output from its target.
        window: ``hann``, or ``none`` for maps that continue at their borders.

    Raises:
        InputError: no maps of four axes, none at all, one side below 16, or values that are not finite.
    """
    if maps.ndim != 4 or not maps.numel():
        raise InputError(f"spectra are those of maps (n, c, h, w) of one size; got {tuple(maps.shape)}")
    height, width = maps.shape[2:]
    if min(height, width) < LEAST_SIDE:
        raise InputError(f"maps of {height} × {width} pixels are too small for a spectrum; {LEAST_SIDE} are needed")
    if not bool(maps.isfinite().all()):
        raise InputError("maps hold values that are not finite (NaN or infinity), which have no spectrum")
    centred = maps.detach().double() - maps.detach().double().mean((2, 3), keepdim=True)
    if window == "hann":
        down, across = (torch.hann_window(side, periodic=True, dtype=torch.float64) for side in (height, width))
        centred = centred * (down[:, None] * across).to(maps.device)
    power = torch.fft.fft2(centred).abs().square().mean((0, 1))
    return torch.fft.fftshift(power)


def amplitude_spectrum(maps: Tensor, *, window: Window = "hann") -> Tensor:
    """Mean amplitude |FFT| as :func:`power_spectrum`: the root of the mean power, (h, w)."""
    return power_spectrum(maps, window=window).sqrt()


def frequencies(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Of the rows (h, 1) and columns (1, w) of a spectrum with 0 in the middle, in cycles a pixel, −1/2 to 1/2."""
    down, across = (torch.fft.fftshift(torch.fft.fftfreq(side, dtype=torch.float64)) for side in (height, width))
    return down[:, None], across[None, :]


def radial_profile(spectrum: Tensor, *, bins: int = 32) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of a spectrum over rings: their middles in cycles a pixel, up to 1/2, and means; empty rings are left out.

    Args:
        spectrum: (h, w), frequency 0 in the middle.
        bins: rings.
    """
    down, across = frequencies(*spectrum.shape)
    radius = (down.square() + across.square()).sqrt().flatten().numpy()
    edges = np.linspace(0, 0.5, bins + 1)
    sums, _ = np.histogram(radius, edges, weights=spectrum.detach().cpu().double().flatten().numpy())
    counts, _ = np.histogram(radius, edges)
    held = counts > 0
    return ((edges[:-1] + edges[1:]) / 2)[held], sums[held] / counts[held]


def artifact_score(maps: Tensor, *, window: Window = "hann", radius: float = 1.5) -> float:
    """Energy at the frequencies that doubling repeats, over the energy around them; 1 means no peaks.

    The mean over :data:`REPEATS` of (mean power within ``radius`` steps of the frequency) / (mean power between
    twice and four times that distance, but for what lies near 0 or near another of them). A step is the distance of two
    frequencies of the map.

    Peaks are repeats of what is strong at low frequencies. The score therefore needs maps with a mean or with smooth
    parts, as images and features have; white noise of mean 0 repeats as white noise, and its score is 1 behind any
    doubling.

    >>> noise = torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> white, with_a_mean = torch.zeros(2, 8, 1, 64, 64)
    >>> white[..., ::2, ::2], with_a_mean[..., ::2, ::2] = noise, noise + 1
    >>> artifact_score(noise) < 1.2, artifact_score(white) < 1.2, artifact_score(with_a_mean) > 10
    (True, True, True)

    Args:
        maps: (n, c, h, w), outputs, features or differences, of 32 pixels a side or more.
        window: as in :func:`power_spectrum`.
        radius: of the windows.

    Raises:
        InputError: maps without a spectrum, one side below 32, or constant maps.
    """
    power = power_spectrum(maps, window=window)
    height, width = power.shape
    if min(height, width) < LEAST_SCORED:
        raise InputError(f"maps of {height} × {width} pixels are too small for a score; {LEAST_SCORED} are needed")
    if not bool(power.any()):
        raise InputError("every map is constant: there is no energy to compare")
    down, across = frequencies(height, width)

    def distance(at_down: float, at_across: float) -> Tensor:
        # Frequencies are periodic: −1/2 is 1/2.
        rows, columns = (down - at_down + 0.5).remainder(1) - 0.5, (across - at_across + 0.5).remainder(1) - 0.5
        return ((rows * height).square() + (columns * width).square()).sqrt()

    ratios = []
    for at in REPEATS:
        away = distance(*at)
        inside, around = away <= radius, (away > 2 * radius) & (away <= 4 * radius)
        for other in ((0.0, 0.0), *REPEATS):
            if other != at:
                # And the place on the other side of the frequency, so that a slope across the ring cancels out.
                mirrored = (2 * at[0] - other[0], 2 * at[1] - other[1])
                for place in (other, mirrored):
                    around &= distance(*place) > 2 * radius
        ratios.append(power[inside].mean() / power[around].mean().clamp(min=torch.finfo(power.dtype).tiny))
    return float(torch.stack(ratios).mean())


# -- kernels -----------------------------------------------------------------------------------------------------


def filter_response(weight: Tensor, *, size: int = 64) -> Tensor:
    """Amplitude of the response of kernels: (..., K, K) → float64 (..., size, size), frequency 0 in the middle.

    Raises:
        InputError: kernels larger than ``size``.
    """
    if max(weight.shape[-2:]) > size:
        raise InputError(f"kernels of {tuple(weight.shape[-2:])} do not fit a response of {size} × {size}")
    response = torch.fft.fft2(weight.detach().double(), s=(size, size))
    return torch.fft.fftshift(response.abs(), dim=(-2, -1))


def _kept(size: int, edge: float) -> Tensor:
    """The band that doubling should keep, both frequencies at most ``edge`` cycles a pixel: bool (size, size)."""
    down, across = frequencies(size, size)
    return (down.abs() <= edge) & (across.abs() <= edge)


def stop_band_energy(weight: Tensor, *, size: int = 64) -> Tensor:
    """Share of a kernel's energy beyond π/2, where the repeats are: (..., K, K) → float64 (...,) in [0, 1].

    0.75 for a kernel of one tap, which removes nothing; NaN for a kernel of zeros.
    """
    energy = filter_response(weight, size=size).square()
    # The frequencies ±1/4 lie on the edge: half of them counts, else the band would be a row too wide.
    kept = (_kept(size, 0.25).double() + _kept(size, 0.25 - 0.5 / size).double()) / 2
    return 1 - (energy * kept).sum((-2, -1)) / energy.sum((-2, -1))


def pass_band_ripple(weight: Tensor, *, size: int = 64, edge: float = 0.125) -> Tensor:
    """Largest deviation of the response from that at 0, relative, up to ``edge``: (..., K, K) → (...,); 0 is flat.

    Infinite for kernels whose taps sum to 0.
    """
    response = filter_response(weight, size=size)
    middle = response[..., size // 2, size // 2]
    deviation = (response - middle[..., None, None]).abs()[..., _kept(size, edge)].amax(-1)
    return torch.where(middle > 0, deviation / middle, torch.inf)


def phase_sum_ratio(weight: Tensor) -> Tensor:
    """Largest over smallest sum of the four phases of a kernel: (..., K, K) → float64 (...,); 1: a constant stays one.

    Infinite where sums differ in sign or one is 0: then a constant becomes a chequerboard altogether.
    """
    wide = weight.detach().double()
    sums = torch.stack([wide[..., row::2, column::2].sum((-2, -1)) for row in (0, 1) for column in (0, 1)])
    sums = sums * sums.sum(0).sign()
    low, high = sums.amin(0), sums.amax(0)
    return torch.where(low > 0, high / low, torch.inf)


# -- reports -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SpectralReport:
    """Figures of the spectrum of maps.

    Attributes:
        score: see :func:`artifact_score`.
        frequency: middles of rings, cycles a pixel.
        profile: mean power of each ring, the largest being 1.
        spectrum: mean power (h, w), frequency 0 in the middle.
    """

    score: float
    frequency: tuple[float, ...]
    profile: tuple[float, ...]
    spectrum: Tensor


def spectral_report(maps: Tensor, *, window: Window = "hann") -> SpectralReport:
    """All figures of maps (n, c, h, w) of one size: images, features, or differences of outputs from targets."""
    spectrum = power_spectrum(maps, window=window)
    middles, means = radial_profile(spectrum)
    score = artifact_score(maps, window=window)
    return SpectralReport(score, tuple(middles.tolist()), tuple((means / means.max()).tolist()), spectrum)
