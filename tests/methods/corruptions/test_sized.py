"""Strengths of our own: blurs that blur at every size, plausibilities with reasons, published strengths kept."""

import numpy as np
import pytest
import torch

from snellen.core.errors import UnknownNameError
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import corrupt, is_grey, luminance, targeted_augmentation
from snellen.methods.corruptions.benchmarks import BENCHMARKS, OWN, benchmark, same_strengths
from snellen.methods.corruptions.digital import low_resolution
from snellen.methods.corruptions.domains import EVERYTHING, GENERAL, WEIGHTS, domain, domain_names, medical_kinds
from snellen.methods.corruptions.nrtk_kinds import NRTK_KINDS
from snellen.methods.recipes.targeted_augmentation import TargetedAugmentation

#: Cycles a pixel from which on detail is fine.
FINE = 0.125


def pictures(side):
    """Edges and texture, alike at all sizes: a few rectangles, and noise with the spectrum of photographs."""
    generator = np.random.default_rng(0)
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    frequencies[0, 0] = 1
    images = []
    for _ in range(6):
        texture = np.fft.ifft2(np.fft.fft2(generator.normal(size=(side, side))) / frequencies).real
        texture = 0.5 + 0.1 * (texture - texture.mean()) / texture.std()
        for _ in range(4):
            top, left = generator.integers(0, side - side // 4, 2)
            texture[top : top + side // 4, left : left + side // 4] += generator.uniform(-0.3, 0.3)
        images.append(np.clip(texture, 0, 1))
    return torch.from_numpy(np.stack(images)).float()[:, None].expand(-1, 3, -1, -1).contiguous()


def fine_energy(images):
    """Energy of what is finer than :data:`FINE`, for each image."""
    planes = images.double().mean(1)
    side = planes.shape[1]
    radius = torch.from_numpy(np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None]))
    return (torch.fft.fft2(planes).abs() ** 2)[:, radius > FINE].sum(1)


def left(name, kind, images, severity):
    changed = corrupt(images, benchmark(name), kind, severity, Randomness(0).bind(len(images)))
    return float((fine_energy(changed) / fine_energy(images)).mean())


@pytest.mark.parametrize("side", [28, 64, 224])
@pytest.mark.parametrize("kind", ["gaussian_blur", "defocus_blur", "low_resolution"])
def test_a_blur_takes_fine_detail_at_every_size(kind, side):
    energies = [left("sized", kind, pictures(side), severity) for severity in (1, 3, 5)]
    assert energies == sorted(energies, reverse=True)
    assert energies[0] < 0.9, "severity 1 is seen"
    assert energies[1] < 0.4, "severity 3 takes most of it"
    assert energies[2] > 0, "something is left"


def test_a_smaller_copy_has_no_alias_of_what_it_cannot_show():
    lines = (torch.arange(32) % 2).float().expand(1, 3, 32, 32)
    changed = low_resolution(lines, Randomness(0).bind(1), factor=0.45)[..., 4:-4]
    assert float((changed - 0.5).abs().max()) < 0.2


def test_the_published_defocus_hardly_blurs_small_images():
    images = pictures(28)
    assert left("imagenet-c", "defocus_blur", images, 1) > 0.85
    assert left("sized", "defocus_blur", images, 1) < 0.7


def test_lengths_grow_with_the_root_of_the_side_below_the_published_size():
    deviations = {
        side: benchmark("sized").strength("gaussian_blur", 5, side, side).values["deviation"] for side in (56, 224, 448)
    }
    assert deviations == {56: 3.0, 224: 6.0, 448: 12.0}
    kernels = {
        side: benchmark("sized-xray").strength("gaussian_blur", 5, side, side).values["kernel"] for side in (56, 224)
    }
    assert kernels == {56: 5.5, 224: 11.0}
    assert benchmark("chestmnist").strength("gaussian_blur", 5, 56, 56).values["kernel"] == 2.75, "as published"


def test_all_other_kinds_keep_the_strengths_of_their_source():
    assert {"fog", "gaussian_noise", "motion_blur", "contrast"} <= same_strengths("sized", 28)
    assert not {"gaussian_blur", "defocus_blur"} & same_strengths("sized", 28)
    for name in OWN:
        assert not benchmark(name).strength("gaussian_blur", 1, 224, 224).published
    assert not set(OWN) & set(BENCHMARKS)


def test_darkness_and_shadow_take_light():
    images = torch.full((4, 3, 16, 16), 0.8)
    rng = Randomness(0).for_examples("abcd")
    dark, shaded = (corrupt(images, benchmark("sized"), kind, 3, rng) for kind in ("darkness", "shadow"))
    assert torch.allclose(dark, images * 0.5)
    assert torch.allclose(shaded.amax((1, 2, 3)), torch.tensor(0.8), atol=0.01), "one edge keeps its light"
    assert torch.allclose(shaded.amin((1, 2, 3)), torch.tensor(0.8 * 0.45), atol=0.01)
    assert len({tuple(image.flatten().tolist()) for image in shaded}) == 4, "each image has a direction of its own"


@pytest.mark.parametrize("kind", ["gaussian_noise", "brightness_up", "jpeg_compression"])
def test_coloured_images_of_a_grey_modality_keep_their_colours(kind):
    """Grey ones are what the published set makes of them, and the published set has no colours."""
    coloured = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    images, rng = torch.cat([coloured, pictures(28)[:1]]), Randomness(0).for_examples("abc")
    own, published = (corrupt(images, benchmark(name), kind, 1, rng) for name in ("sized-ct", "organamnist"))
    assert is_grey(own).tolist() == [False, False, True]
    assert is_grey(published).all()
    assert torch.equal(own[2], published[2])
    assert torch.allclose(luminance(own[:2]), published[:2], atol=1e-6)


@pytest.mark.parametrize("name", OWN)
def test_every_kind_is_in_one_family(name):
    chosen = benchmark(name)
    listed = [kind for kinds in chosen.families.values() for kind in kinds]
    assert sorted(listed) == sorted(chosen.kinds)
    assert set(chosen.large) == set(chosen.kinds)
    assert set(chosen.small) <= set(chosen.kinds)
    assert set(chosen.main) <= set(chosen.kinds)
    assert not set(chosen.main) & set(NRTK_KINDS), "what needs another package is measured and trained on by name alone"


def test_a_training_takes_the_kinds_of_our_own():
    images, targets = pictures(28), torch.zeros(6, dtype=torch.long)
    for kind in set(benchmark("sized").main) - set(benchmark("imagenet-c").kinds):
        transform = targeted_augmentation(benchmark("sized"), (kind,))
        changed, _ = transform(images, targets, Randomness(0).for_examples("abcdef"))
        assert changed.shape == images.shape
        assert changed.isfinite().all()
        assert not torch.equal(changed, images), kind
    assert set(TargetedAugmentation(benchmark="sized").kinds) == set(benchmark("sized").main)


def test_every_domain_weighs_every_kind_with_a_reason():
    assert len(domain_names()) == len(GENERAL) + len(medical_kinds()) + 1
    for name in domain_names():
        found = domain(name)
        assert set(found.fits) == set(benchmark(found.benchmark).kinds), name
        assert all(fit.why and fit.plausibility in WEIGHTS for fit in found.fits.values())
        assert {"gaussian_blur", "low_resolution"} <= set(found.kinds), "in the default of every domain"
        assert not set(found.kinds) & set(found.left_out)
        assert set(found.kinds) | set(found.left_out) | set(NRTK_KINDS) == set(found.fits), "none is dropped silently"
    assert not domain(EVERYTHING).left_out
    assert {"fog", "snow", "frost"} <= set(domain("products").left_out)
    assert "fog" in domain("satellite").kinds
    xray = domain("medical:xray").fits
    assert [xray[kind].plausibility for kind in ("gamma_corr_up", "low_resolution", "fog")] == ["usual", "usual", "no"]


def test_unknown_domains_are_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown domain 'product'; did you mean 'products'"):
        domain("product")
    with pytest.raises(UnknownNameError, match="medical:xray"):
        domain("medical:x-ray")
