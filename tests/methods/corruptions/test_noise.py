"""Noise against its published formula: SciPy's distributions, and NumPy's draws by moments and spectrum."""

import numpy as np
import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.noise import (
    HALF_STEP,
    PoissonTable,
    gaussian_noise,
    impulse_noise,
    shot_noise,
    small_counts,
    speckle_noise,
)

stats = pytest.importorskip("scipy.stats")
skimage = pytest.importorskip("skimage")

KINDS = [
    (gaussian_noise, "deviation", [0.04, 0.08, 0.12, 0.18, 0.26, 0.38]),
    (shot_noise, "photons", [500.0, 60.0, 25.0, 12.0, 5.0, 3.0]),
    (impulse_noise, "share", [0.005, 0.03, 0.06, 0.09, 0.17, 0.27]),
    (speckle_noise, "deviation", [0.06, 0.15, 0.2, 0.35, 0.45, 0.6]),
]
SIZES = [(1, 1), (1, 9), (24, 17)]


@pytest.fixture(scope="module")
def photo():
    pixels = skimage.transform.resize(skimage.data.astronaut(), (96, 80), anti_aliasing=True)
    return torch.from_numpy(np.round(pixels * 255) / 255).float().permute(2, 0, 1)[None]


def published(name, pixels, strength, generator):
    """The published formula on one image in [0, 1]."""
    if name == "gaussian_noise":
        noisy = pixels + generator.normal(size=pixels.shape, scale=strength)
    elif name == "shot_noise":
        noisy = generator.poisson(pixels * strength) / strength
    elif name == "impulse_noise":
        noisy = skimage.util.random_noise(pixels, mode="s&p", amount=strength, rng=generator)
    else:
        noisy = pixels + pixels * generator.normal(size=pixels.shape, scale=strength)
    return np.clip(noisy, 0, 1)


@pytest.mark.parametrize(("kind", "parameter", "strengths"), KINDS)
def test_moments_and_spectrum_are_those_of_the_published_formula(kind, parameter, strengths, photo):
    count = 24
    generator = np.random.default_rng(0)
    pixels = photo[0].double().numpy()
    for strength in strengths[1::2]:
        rng = Randomness(0).bind(count)
        ours = kind(photo.expand(count, -1, -1, -1), rng, **{parameter: strength}).double().numpy() - pixels
        theirs = np.stack([published(kind.__name__, pixels, strength, generator) for _ in range(count)]) - pixels
        values = count * 96 * 80
        spread = theirs.std(axis=(0, 2, 3))
        assert np.all(np.abs(ours.mean((0, 2, 3)) - theirs.mean((0, 2, 3))) < 5 * spread * np.sqrt(2 / values))
        assert np.allclose(ours.std((0, 2, 3)), spread, rtol=0.02)
        # The mean change of each pixel is clipping, the same in both; what is left is the noise.
        for channel in range(3):
            (power, size), (expected, _) = (spectrum(c[:, channel] - c[:, channel].mean(0)) for c in (ours, theirs))
            # Powers are squares of normal variables, in conjugate pairs.
            assert np.all(np.abs(power / expected - 1) < 5 * np.sqrt(2 * 2 / (count * size)))
        between = [np.corrcoef((c - c.mean(0)).transpose(1, 0, 2, 3).reshape(3, -1)) for c in (ours, theirs)]
        assert np.abs(between[0] - between[1]).max() < 0.02


def spectrum(changes):
    """Mean power in eight rings of frequency, and how many frequencies each has: (n, h, w) → (8), (8)."""
    power = (np.abs(np.fft.fft2(changes)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(changes.shape[1])[:, None], np.fft.fftfreq(changes.shape[2]))
    rings = np.minimum((frequency * 16).astype(int), 7)
    sizes = np.bincount(rings.ravel())
    return np.bincount(rings.ravel(), power.ravel()) / sizes, sizes


@pytest.mark.parametrize("deviation", [0.04, 0.38])
def test_normal_noise_is_one_draw_scaled(deviation, photo):
    rng = Randomness(3).for_examples(["a"])
    draws = {kind: rng.normal(kind, photo.shape[1:]) for kind in ("gaussian_noise", "speckle_noise")}
    added = (photo + deviation * draws["gaussian_noise"]).clamp(0, 1)
    assert torch.allclose(gaussian_noise(photo, rng, deviation=deviation), added, atol=1e-6)
    scaled = (photo + photo * deviation * draws["speckle_noise"]).clamp(0, 1)
    assert torch.allclose(speckle_noise(photo, rng, deviation=deviation), scaled, atol=1e-6)


@pytest.mark.parametrize("photons", [3.0, 5.0, 12.0, 17.4, 25.0, 60.0, 500.0, 4321.5])
def test_shot_noise_is_the_quantile_of_its_draw_at_every_grey_level(photons):
    images = (torch.arange(256).repeat(40) / 255).view(1, 1, 40, 256).expand(1, 3, 40, 256)
    rng = Randomness(1).bind(1)
    draws = rng.uniform("shot_noise", (3, 40, 256)).double() + HALF_STEP
    counts = stats.poisson.ppf(draws.numpy(), np.arange(256) / 255 * photons)
    expected = np.minimum(counts / photons, 1)
    assert np.abs(shot_noise(images, rng, photons=photons).numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("photons", [5.0, 60.0])
@pytest.mark.parametrize("value", [0.2, 0.1373, 0.0011, 0.7891])
def test_shot_noise_counts_as_poisson_for_any_value(value, photons):
    images = torch.full((12, 3, 64, 64), value)
    noisy = shot_noise(images, Randomness(2).bind(12), photons=photons).double() * photons
    counts = np.bincount(noisy.round().flatten().int().numpy(), minlength=int(photons) + 1)
    chances = stats.poisson.pmf(np.arange(int(photons)), float(images[0, 0, 0, 0]) * photons)
    chances = np.append(chances, 1 - chances.sum())
    common = chances * images.numel() > 5
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(chances[common], chances[~common].sum()) * images.numel()
    seen = expected > 1e-3
    assert observed[~seen].sum() == 0
    assert stats.chisquare(observed[seen], expected[seen], sum_check=False).pvalue > 1e-3


def test_shot_noise_of_values_between_grey_levels_draws_anew_for_the_rest(photo):
    """What is counted above the level is independent of what the level counts, and there only where something is."""
    rng, photons = Randomness(0).bind(2), 60.0
    images = torch.cat([photo, photo + 0.4 / 255]).clamp(0, 1)
    noisy = shot_noise(images, rng, photons=photons)
    alone = shot_noise(images[:1].expand(2, -1, -1, -1).clone(), rng, photons=photons)
    assert torch.equal(noisy[0], alone[0])
    extra = ((noisy[1] - alone[1]) * photons)[(noisy[1] < 1) & (images[1] < 1)]
    assert float(extra.min()) >= -1e-4
    assert float(extra.mean()) == pytest.approx(0.4 / 255 * photons, rel=0.05)


def test_small_counts_are_quantiles():
    rates = torch.linspace(0, 9, 4001)
    draws = torch.rand(4001, generator=torch.Generator().manual_seed(0))
    expected = stats.poisson.ppf(draws.double().numpy() + HALF_STEP, rates.double().numpy())
    assert np.array_equal(small_counts(rates, draws).numpy(), expected)


def test_the_guide_table_only_speeds_up():
    levels = torch.arange(256.0).repeat(300)
    draws = torch.rand(len(levels), generator=torch.Generator().manual_seed(0))
    counts = [PoissonTable.of(60.0, size, levels.device).counts(levels, draws) for size in (1, 1000, 10**6)]
    assert torch.equal(counts[0], counts[1])
    assert torch.equal(counts[0], counts[2])


def test_many_photons_meet_their_normal_limit(photo):
    rng = Randomness(0).bind(1)
    below, above = shot_noise(photo, rng, photons=9999.9), shot_noise(photo, rng, photons=10000.0)
    assert float((below - above).abs().max()) < 0.2 / 255
    assert torch.equal(shot_noise(photo, rng, photons=float("inf")), photo)


class ExtremeDraws:
    """Randomness whose uniform draws are the least and the greatest that there are."""

    def uniform(self, stream, shape, *, like):
        return torch.tensor([0.0, 1 - 2.0**-24]).expand(1, *shape[:-1], 2)


@pytest.mark.parametrize("photons", [60.0, 500.0, 9999.0, 10000.0, 20000.0])
def test_extreme_draws_give_the_quantiles_of_their_intervals(photons):
    for value in (0.0, 0.2, 1.0):
        noisy = shot_noise(torch.full((1, 3, 1, 2), value), ExtremeDraws(), photons=photons)
        chances = np.array([HALF_STEP, 1 - HALF_STEP])
        expected = np.minimum(stats.poisson.ppf(chances, value * photons) / photons, 1) if value else 0.0
        assert np.abs(noisy.numpy() - expected).max() < (1e-6 if photons < 10000 else 0.2 / 255)


def test_impulses_are_nested_and_half_salt(photo):
    rng = Randomness(0).bind(1)
    some, more = (impulse_noise(photo, rng, share=share) for share in (0.06, 0.17))
    hit = some != photo
    assert torch.equal(some[hit], more[hit])
    grey = torch.full((4, 3, 100, 100), 0.5)
    noisy = impulse_noise(grey, Randomness(0).bind(4), share=0.17)
    for value in (0.0, 1.0):
        share = float((noisy == value).double().mean())
        assert abs(share - 0.085) < 4 * (0.085 * 0.915 / grey.numel()) ** 0.5
    assert torch.equal(noisy.unique(), torch.tensor([0.0, 0.5, 1.0]))


@pytest.mark.parametrize(("kind", "parameter", "strengths"), KINDS)
class TestEachKind:
    @pytest.mark.parametrize("size", SIZES)
    def test_batch_is_single_and_input_and_draws_stay(self, kind, parameter, strengths, size):
        images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
        images[1] = (images[1] * 255).round() / 255
        kept = images.clone()
        rng = Randomness(0).for_examples(["a", "b", "c"]).remembering()
        noisy = kind(images, rng, **{parameter: strengths[2]})
        assert noisy.shape == images.shape
        assert noisy.dtype == torch.float32
        assert noisy.min() >= 0
        assert noisy.max() <= 1
        assert torch.equal(images, kept)
        assert torch.equal(kind(images, rng, **{parameter: strengths[2]}), noisy)
        for row in range(3):
            alone = kind(images[row : row + 1], rng[[row]], **{parameter: strengths[2]})
            assert torch.equal(alone[0], noisy[row])

    def test_a_strength_for_each_image(self, kind, parameter, strengths):
        images = torch.rand(3, 3, 12, 7, generator=torch.Generator().manual_seed(0))
        rng = Randomness(0).bind(3)
        each = kind(images, rng, **{parameter: torch.tensor(strengths[:3]).view(3, 1, 1, 1)})
        for row in range(3):
            whole = kind(images, rng, **{parameter: float(torch.tensor(strengths[row]))})
            assert torch.allclose(each[row], whole[row], atol=1e-6)

    def test_no_images(self, kind, parameter, strengths):
        images = torch.zeros(0, 3, 8, 8)
        assert kind(images, Randomness(0).bind(0), **{parameter: strengths[0]}).shape == images.shape

    def test_the_change_grows_with_the_strength(self, kind, parameter, strengths, photo):
        rng = Randomness(0).bind(1)
        changes = [float((kind(photo, rng, **{parameter: value}) - photo).abs().mean()) for value in strengths]
        assert changes == sorted(changes)
        assert changes[0] > 0

    def test_in_blocks_as_at_once(self, kind, parameter, strengths):
        images = (torch.rand(3, 3, 300, 200, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
        rng = Randomness(0).bind(3)
        noisy = kind(images, rng, **{parameter: strengths[1]})
        assert torch.equal(noisy[2], kind(images[2:], rng[[2]], **{parameter: strengths[1]})[0])
