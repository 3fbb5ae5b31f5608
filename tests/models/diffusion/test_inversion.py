"""DDIM inversion: the steps of diffusers' inverse scheduler, and how far the way back misses."""

import copy
from dataclasses import dataclass, fields, replace

import diffusers
import pytest
import torch

from snellen.core.errors import InputError, ModelError
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.guidance import classifier_free
from snellen.models.diffusion.inversion import invert
from snellen.models.diffusion.sampler import Sampler, seeded


def prepared(smoke, name, *, calm=1.0, **options):
    """With ``calm`` < 1 the network's last layer is made weaker: random networks are not smooth, trained ones are."""
    generator = smoke(name)
    if calm < 1:
        generator = generator.with_denoiser(copy.deepcopy(generator.denoiser.network))
        with torch.no_grad():
            generator.denoiser.network.conv_out.weight.mul_(calm)
    sampler = Sampler(generator, **options)
    condition = generator.encode_prompts(["a red star", "a dog"])
    pictures = seeded([1, 2]).uniform("pictures", (3, 64, 64))
    return generator, sampler, condition, generator.encode(pictures)


@dataclass(frozen=True, eq=False)
class OfGaussian(Denoiser):
    """The exact denoiser of images whose values are independent and normal with a spread of ``spread``."""

    spread: float = 0.5

    def __call__(self, latents, timesteps, condition):
        kept = float(self.alphas_cumprod[int(timesteps[0])])
        return (1 - kept) ** 0.5 * latents / (kept * self.spread**2 + 1 - kept)


def test_of_a_gaussian_the_noise_is_known(smoke):
    """The flow keeps each value's quantile: x_T / sqrt(alpha² s² + sigma²) = x_0 / s."""
    generator = smoke("unconditional-unet")
    values = {field.name: getattr(generator.denoiser, field.name) for field in fields(Denoiser)}
    exact = replace(generator, denoiser=OfGaussian(**values))
    latents = 0.5 * seeded([1, 2]).normal("latents", (3, 32, 32))
    errors = []
    for steps in (50, 200):
        sampler = Sampler(exact, steps=steps, settings={"clip_sample": False})
        state = invert(sampler, latents, seeded([1, 2]), refinements=2)
        alpha, sigma = state.solver.level(0)
        expected = latents / 0.5 * (alpha**2 * 0.25 + sigma**2) ** 0.5
        errors.append(float((state.latents - expected).abs().max()))
        back = sampler.run(state).latents
        assert float((back - latents).abs().max()) < 0.02
    assert errors[1] < 0.4 * errors[0] < 0.1


def missed(sampler, latents, condition, terms=(), **options):
    state = invert(sampler, latents, seeded([1, 2]), condition, guidance=terms, **options)
    back = sampler.run(state, condition, guidance=terms).latents
    return float((back - latents).norm() / latents.norm())


def test_steps_are_those_of_the_inverse_scheduler(smoke):
    generator, sampler, condition, latents = prepared(smoke, "stable-diffusion-1.5", steps=5)
    found = invert(sampler, latents, seeded([1, 2]), condition)
    settings = {name: value for name, value in generator.schedule.items() if not name.startswith("_")}
    scheduler = diffusers.DDIMInverseScheduler.from_config({**settings, "clip_sample": False})
    scheduler.set_timesteps(5)
    with torch.no_grad():
        for moment in scheduler.timesteps:
            predicted = generator.denoiser.network(latents, moment, encoder_hidden_states=condition.text).sample
            latents = scheduler.step(predicted, moment, latents).prev_sample
    torch.testing.assert_close(found.latents, latents, atol=1e-5, rtol=1e-5)
    assert (found.calls, found.rows, found.index) == (5, 10, 0)


@pytest.mark.parametrize("name", ["stable-diffusion-1.5", "stable-diffusion-2.1"])
def test_the_way_back_ends_near_the_start_and_nearer_with_refinement(smoke, name):
    _, sampler, condition, latents = prepared(smoke, name, calm=0.02, steps=10)
    plain, refined = (missed(sampler, latents, condition, refinements=times) for times in (0, 4))
    assert refined < 0.2 * plain
    assert refined < 1e-2


def test_guidance_makes_the_way_back_worse(smoke):
    generator, sampler, condition, latents = prepared(smoke, "stable-diffusion-1.5", calm=0.02, steps=10)
    guided = missed(sampler, latents, condition, [classifier_free(5.0, generator.null(2))])
    assert guided > missed(sampler, latents, condition)


def test_an_inversion_may_stop_before_all_noise(smoke):
    _, sampler, condition, latents = prepared(smoke, "stable-diffusion-1.5", calm=0.02, steps=10)
    state = invert(sampler, latents, seeded([1, 2]), condition, refinements=3, index=6)
    assert (state.index, state.calls) == (6, 16)
    back = sampler.run(state, condition).latents
    assert float((back - latents).norm() / latents.norm()) < 1e-2


def test_a_prediction_of_the_image_can_be_inverted(smoke):
    generator = smoke("unconditional-unet")
    schedule = {**generator.schedule, "prediction_type": "sample", "clip_sample": False}
    naming = replace(generator, denoiser=replace(generator.denoiser, prediction="sample"), schedule=schedule)
    sampler = Sampler(naming, steps=4)
    assert bool(torch.isfinite(invert(sampler, torch.zeros(1, 3, 32, 32), seeded([1])).latents).all())


def test_what_cannot_be_inverted_is_refused(smoke):
    generator, sampler, condition, latents = prepared(smoke, "stable-diffusion-1.5", steps=3)
    for options, message in (({"solver": "euler"}, "got euler with eta 0"), ({"eta": 0.5}, "got ddim with eta 0.5")):
        with pytest.raises(InputError, match=f"only DDIM without noise can be inverted; {message}"):
            invert(Sampler(generator, steps=3, **options), latents, seeded([1, 2]), condition)
    spaced = Sampler(generator, steps=3, settings={"timestep_spacing": "linspace"})
    with pytest.raises(InputError, match=r"'linspace' do not meet.*'timestep_spacing': 'leading'"):
        invert(spaced, latents, seeded([1, 2]), condition)
    with pytest.raises(InputError, match="refinements are 0 or more; got -1"):
        invert(sampler, latents, seeded([1, 2]), condition, refinements=-1)
    with pytest.raises(InputError, match="2 samples came with a condition of 1 rows"):
        invert(sampler, latents, seeded([1, 2]), condition.select([0]))
    with pytest.raises(ModelError, match="inversion of 2 samples ended in latents that are not finite"):
        invert(sampler, latents * float("nan"), seeded([1, 2]), condition)
