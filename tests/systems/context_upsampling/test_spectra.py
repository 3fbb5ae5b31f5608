"""Spectra of maps and kernels against what theory says of nearest upsampling, zero insertion and windowed sincs."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from snellen.core.errors import InputError
from snellen.systems.context_upsampling.spectra import (
    amplitude_spectrum,
    artifact_score,
    filter_response,
    frequencies,
    pass_band_ripple,
    phase_sum_ratio,
    power_spectrum,
    radial_profile,
    spectral_report,
    stop_band_energy,
)
from snellen.systems.context_upsampling.upsampling import interpolation_taps


def noise(count=32, side=32):
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(0))


def spread(maps):
    """Zero insertion."""
    made = torch.zeros(len(maps), 1, 2 * maps.shape[2], 2 * maps.shape[3])
    made[..., ::2, ::2] = maps
    return made


def filtered(maps, taps):
    kernel = torch.outer(taps, taps)[None, None]
    return F.conv2d(F.pad(spread(maps), (len(taps) // 2,) * 4, mode="circular"), kernel)


@pytest.mark.covers("19.10")
def test_nearest_upsampling_attenuates_as_its_box_does():
    """Zero insertion times the response of a box of two: cos²(πf) of the power on each axis."""
    given = noise()
    made = power_spectrum(F.interpolate(given, scale_factor=2, mode="nearest"), window="none")
    zeros = power_spectrum(spread(given), window="none")
    down, across = frequencies(64, 64)
    expected = 16 * (torch.cos(math.pi * down) * torch.cos(math.pi * across)).square()
    held = (expected > 1e-12) & (zeros > 0)
    held[32, 32] = False
    assert torch.allclose((made / zeros)[held], expected[held], rtol=1e-6)
    # The radial profile falls as sinc² does: 0.5 at a quarter cycle on an axis.
    assert (made / zeros)[32, 48].item() == pytest.approx(8.0, rel=1e-6)


@pytest.mark.covers("19.10")
def test_zero_insertion_repeats_the_spectrum():
    made = power_spectrum(spread(noise()), window="none")
    for shift in ((32, 0), (0, 32), (32, 32)):
        repeated = torch.roll(made, shift, (0, 1))
        away = torch.ones_like(made, dtype=torch.bool)
        away[::32, ::32] = False
        away[0::32, :][:, 0::32] = False
        assert torch.allclose(repeated[away], made[away], rtol=1e-6)


@pytest.mark.covers("19.10")
def test_the_artifact_score_tells_repeats_from_their_removal():
    given = noise()
    assert artifact_score(spread(given)) > 50
    assert artifact_score(given) == pytest.approx(1, abs=0.2)
    assert artifact_score(filtered(given, interpolation_taps(11, "sinc"))) < 1.2
    # A short filter whose phases differ leaves the chequerboard.
    assert artifact_score(filtered(given, torch.tensor([0.4, 1.0, 0.4]))) > 3


@pytest.mark.parametrize("side", [32, 48, 64])
def test_the_score_needs_low_frequencies_and_its_rings_leave_out_0(side):
    """Smooth maps without repeats are not scored by how near frequency 0 is, and white noise has nothing to repeat."""
    generator = torch.Generator().manual_seed(0)

    def smooth(size):
        # A power of f⁻³, as images have about.
        down, across = torch.fft.fftfreq(size)[:, None], torch.fft.fftfreq(size)[None]
        radius = (down.square() + across.square()).sqrt()
        radius[0, 0] = 1 / size
        return torch.fft.ifft2(torch.fft.fft2(torch.randn(64, 1, size, size, generator=generator)) / radius**1.5).real

    assert 0.5 < artifact_score(smooth(side)) < 1.1
    assert artifact_score(spread(smooth(side // 2))) > 15
    white = torch.randn(64, 1, side // 2, side // 2, generator=generator)
    assert artifact_score(spread(white)) == pytest.approx(1, abs=0.15)


def test_maps_too_small_for_a_score_are_refused():
    with pytest.raises(InputError, match="24 × 40 pixels are too small for a score; 32 are needed"):
        artifact_score(torch.rand(1, 1, 24, 40))


@pytest.mark.covers("19.9")
def test_the_mean_of_every_map_is_removed_and_a_window_laid_over_it():
    maps = torch.rand(2, 2, 16, 24)
    moved = maps + torch.tensor([5.0, -3.0]).view(1, 2, 1, 1)
    assert torch.allclose(power_spectrum(moved, window="none"), power_spectrum(maps, window="none"), atol=1e-4)
    assert power_spectrum(maps, window="none")[8, 12] < 1e-6
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    cross = [power_spectrum(ramp, window=window)[16, 24].item() for window in ("none", "hann")]
    # A ramp jumps at the border: the window takes the cross away.
    assert cross[1] < 1e-3 * cross[0]


@pytest.mark.covers("19.9")
def test_powers_are_averaged_before_the_logarithm():
    one, other = torch.randn(1, 1, 16, 16), 10 * torch.randn(1, 1, 16, 16)
    both = power_spectrum(torch.cat([one, other]))
    mean = (power_spectrum(one) + power_spectrum(other)) / 2
    assert torch.allclose(both, mean)
    logs = ((power_spectrum(one) + 1e-9).log() + (power_spectrum(other) + 1e-9).log()) / 2
    assert not torch.allclose((both + 1e-9).log(), logs, atol=0.1)
    assert torch.allclose(amplitude_spectrum(other).square(), power_spectrum(other))


@pytest.mark.covers("19.9")
@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (torch.rand(3, 32, 32), r"maps \(n, c, h, w\) of one size"),
        (torch.rand(0, 1, 32, 32), "of one size"),
        (torch.rand(1, 1, 32, 8), "32 × 8 pixels are too small"),
        (torch.full((1, 1, 32, 32), torch.nan), "not finite"),
    ],
)
def test_maps_without_a_spectrum_are_refused(maps, message):
    with pytest.raises(InputError, match=message):
        power_spectrum(maps)
    with pytest.raises(InputError):
        artifact_score(torch.ones(1, 1, 32, 32))


def test_a_wave_lies_in_its_ring():
    wave = torch.cos(2 * math.pi * 0.25 * torch.arange(64.0)).expand(1, 1, 64, 64)
    middles, means = radial_profile(power_spectrum(wave, window="none"))
    assert middles[means.argmax()] == pytest.approx(0.25, abs=0.5 / 32)
    assert np.isfinite(means).all()
    report = spectral_report(wave)
    assert max(report.profile) == 1
    assert report.spectrum.shape == (64, 64)
    assert len(report.profile) == len(report.frequency)


def test_longer_sincs_leave_less_beyond_the_band():
    def outer(side, kind="sinc"):
        taps = interpolation_taps(side, kind)
        return torch.outer(taps, taps)

    stop = [stop_band_energy(outer(side)).item() for side in (3, 7, 11, 31)]
    assert stop == sorted(stop, reverse=True)
    assert stop[-1] < 0.05
    assert stop_band_energy(torch.ones(1, 1)).item() == pytest.approx(0.75, abs=0.01)
    assert stop_band_energy(torch.zeros(2, 3, 3)).isnan().all()
    ripple = [pass_band_ripple(outer(side)).item() for side in (3, 11, 31)]
    assert ripple == sorted(ripple, reverse=True)
    assert pass_band_ripple(torch.tensor([[1.0, -1.0], [1.0, -1.0]])).isinf()


def test_responses_and_sums_of_phases():
    assert filter_response(torch.ones(2, 2))[32, 32] == 4
    assert phase_sum_ratio(torch.ones(2, 2)) == 1
    assert phase_sum_ratio(-torch.ones(5, 1, 2, 2)).tolist() == [[1.0]] * 5
    assert phase_sum_ratio(torch.ones(3, 3)) == 4
    assert phase_sum_ratio(torch.tensor([[1.0, -1.0], [1.0, 1.0]])).isinf()
    with pytest.raises(InputError, match="do not fit"):
        filter_response(torch.ones(80, 80))
