"""Batch inversion: plain with one code, nearer with several, and pulled towards the generator's own codes."""

from dataclasses import replace

import pytest
import torch

from snellen.core.errors import InputError, ModelError
from snellen.core.randomness import Randomness
from snellen.systems.natural_transformations.inversion import (
    Codes,
    InversionSettings,
    Prior,
    expanded,
    inversion_loss,
    invert,
    moment_distance,
    peak_ratio,
    render,
)
from tests.systems.natural_transformations.parts import BLOCKS, LATENT, codes_of, pictures, split

ONE = InversionSettings(codes=1, steps=6, expansion_steps=6, rate=0.05, perceptual=0.0)


def plain(generator, images, start, settings, steps):
    """Inversion as everyone writes it: Adam on the codes themselves."""
    shift = torch.zeros_like(start).requires_grad_(True)
    optimizer = torch.optim.Adam([shift], lr=settings.rate)
    for _ in range(steps):
        codes = start + shift
        loss = (2 * (generator(codes) - images)).square().mean()
        loss = loss + settings.pull * (generator.prior.distance(codes) - 1).square().mean()
        loss = loss + settings.moments * sum(moment_distance(codes, generator.prior))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (start + shift).detach()


@pytest.mark.covers("26.3")
def test_one_code_with_weights_of_one_is_plain_inversion():
    generator, images, start = split(), pictures(5), codes_of(5)
    assert torch.equal(render(generator, Codes.plain(start, generator.channels)), generator(start))
    found = invert(generator, images, start, ONE, rng=Randomness(0))
    torch.testing.assert_close(found.values[:, 0], plain(generator, images, start, ONE, 12), atol=1e-5, rtol=0)
    assert torch.equal(found.weights, torch.ones_like(found.weights))


@pytest.mark.covers("26.2")
def test_several_codes_are_nearer_to_unseen_images_at_equal_steps():
    generator, images, start = split(), pictures(12), codes_of(12)
    several = ONE.model_copy(update={"codes": 4})
    one = peak_ratio(images, render(generator, invert(generator, images, start, ONE, rng=Randomness(0))))
    many = peak_ratio(images, render(generator, invert(generator, images, start, several, rng=Randomness(0))))
    assert float((many - one).mean()) > 0.1
    still = several.model_copy(update={"expansion_steps": 0, "noise": 0.0, "steps": 12})
    same = peak_ratio(images, render(generator, invert(generator, images, start, still, rng=Randomness(0))))
    torch.testing.assert_close(same, one, rtol=1e-3, atol=1e-3)  # copies alone bring nothing


@pytest.mark.covers("26.4")
@pytest.mark.parametrize(
    "weights", [{"pull": 0.3, "moments": 0.0}, {"pull": 0.0, "moments": 1.0}], ids=["pull", "moments"]
)
def test_shifting_pulls_codes_to_the_prior_and_without_its_weights_it_does_not(weights):
    generator, images = split(), pictures(16)
    start = 1.5 * codes_of(16) + 0.8
    pulled = ONE.model_copy(update={**weights, "steps": 12})
    free = pulled.model_copy(update={"pull": 0.0, "moments": 0.0})
    before = sum(moment_distance(start, generator.prior))
    after = {
        name: sum(moment_distance(invert(generator, images, start, one, rng=Randomness(0)).mean, generator.prior))
        for name, one in (("pulled", pulled), ("free", free))
    }
    assert after["pulled"] < 0.6 * before
    assert after["free"] > 0.8 * before


def test_the_distance_to_the_prior_knows_which_numbers_of_a_code_go_together():
    covariance = torch.tensor([[2.0, 1.9], [1.9, 2.0]])
    prior = Prior(torch.tensor([1.0, 0.0]), covariance)
    codes = torch.tensor([[[2.0, 1.0], [2.0, -1.0]]])  # along and across what varies together
    along, across = (float(prior.distance(codes[:, [layer]])) for layer in (0, 1))
    inverse = torch.linalg.inv(covariance)
    for found, apart in ((along, torch.tensor([1.0, 1.0])), (across, torch.tensor([1.0, -1.0]))):
        assert found == pytest.approx(float(apart @ inverse @ apart) / 2, rel=0.05)
    assert across > 20 * along
    assert float(prior.distance(codes)) == pytest.approx((along + across) / 2)


def test_the_loss_is_that_of_the_page():
    prior = Prior(torch.zeros(2), torch.eye(2))
    images, made = torch.zeros(2, 3, 2, 2), torch.full((2, 3, 2, 2), 0.25)
    codes = torch.tensor([[[2.0, 2.0]], [[-2.0, -2.0]]])  # mean 0, deviation 2, distance 4
    settings = InversionSettings(pull=0.5, moments=7.0, perceptual=2.0)
    loss = inversion_loss(images, made, codes, prior, settings, lambda first, second: torch.tensor([1.0, 3.0]))
    assert float(loss) == pytest.approx(0.25 + 2.0 * 2.0 + 0.5 * 9.0 + 7.0 * 1.0, rel=1e-2)
    alone = inversion_loss(images, made, codes + 2, prior, settings.model_copy(update={"pull": 0.0, "perceptual": 0.0}))
    assert float(alone) == pytest.approx(0.25 + 7.0 * (4.0 + 1.0), rel=1e-3)


@pytest.mark.covers("26.4")
def test_the_pull_is_to_the_shell_of_the_generators_codes_and_not_to_their_mean():
    generator, images = split(), pictures(8)
    strong = ONE.model_copy(update={"pull": 50.0, "moments": 0.0, "steps": 60})
    for length in (0.5, 1.6):
        start = length * codes_of(8)
        found = invert(generator, images, start, strong, rng=Randomness(0)).mean
        apart = [float((generator.prior.distance(one) - 1).abs().mean()) for one in (start, found)]
        assert apart[1] < 0.5 * apart[0]


def test_codes_that_were_shifted_go_back_to_the_sphere_that_the_generator_knows():
    generator, codes = split(), codes_of(4)
    torch.testing.assert_close(generator(3 * codes), generator(codes), atol=1e-5, rtol=0)
    others = Codes.plain(codes_of(4, seed=9), generator.channels)
    shift = codes - others.mean
    torch.testing.assert_close(render(generator, others, 2 * codes - others.mean), generator(codes), atol=1e-5, rtol=0)
    torch.testing.assert_close(render(generator, others, shift), generator(codes), atol=1e-5, rtol=0)


def test_a_shift_moves_every_code_of_an_image_alike():
    generator = split()
    codes = Codes(codes_of(6).view(2, 3, BLOCKS, LATENT), torch.rand(2, 3, generator.channels))
    shift = torch.randn(2, BLOCKS, LATENT, generator=torch.Generator().manual_seed(3))
    moved = Codes(codes.values + shift[:, None], codes.weights)
    torch.testing.assert_close(render(generator, codes, shift), render(generator, moved))


def test_a_batch_of_one_image_has_no_moments_and_works():
    generator = split()
    found = invert(generator, pictures(1), codes_of(1), ONE, rng=Randomness(0))
    assert found.values.shape == (1, 1, BLOCKS, LATENT)


def test_expansion_begins_at_nearly_the_same_image_and_draws_by_image():
    generator, start = split(), codes_of(3)
    settings = InversionSettings(codes=5, noise=0.0)
    first = expanded(start, settings, generator, Randomness(0).bind(3))
    torch.testing.assert_close(render(generator, first), generator(start), rtol=1e-4, atol=1e-5)
    noisy = expanded(start, InversionSettings(codes=5), generator, Randomness(0).bind(3))
    assert not torch.equal(noisy.values[:, 0], noisy.values[:, 1])
    other = expanded(start[1:2], InversionSettings(codes=5), generator, Randomness(0).for_examples(["1"]))
    assert torch.equal(other.values, noisy.values[1:2])


def test_what_cannot_be_inverted_is_refused():
    generator = split()
    with pytest.raises(InputError, match=r"makes images of \(3, 16, 16\), and these are \(3, 8, 8\)"):
        invert(generator, torch.rand(2, 3, 8, 8), codes_of(2), ONE, rng=Randomness(0))
    broken = replace(generator, fine=lambda features, codes: generator.fine(features, codes) * float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        invert(broken, pictures(2), codes_of(2), ONE, rng=Randomness(0))
    with pytest.raises(InputError, match="two codes or more"):
        Prior.of_codes(torch.zeros(1, 3))
