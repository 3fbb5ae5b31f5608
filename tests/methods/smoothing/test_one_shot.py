"""The moment of a diffusion that has the noise, and one step back from it, from one half alone."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from snellen.core.errors import InputError
from snellen.methods.smoothing.branches import Branch, half_masks, pick
from snellen.methods.smoothing.one_shot import one_shot_denoiser, timestep_of
from snellen.models.diffusion.loading import load_generator

#: ᾱ whose ratios √(1 − ᾱ)/√ᾱ are 0.1, 0.5, 1, 2.
SCHEDULE = torch.tensor([1 / (1 + ratio**2) for ratio in (0.1, 0.5, 1.0, 2.0)])


@pytest.mark.covers("13.15")
@pytest.mark.parametrize(
    ("sigma", "moment"), [(0.0, 0), (0.05, 0), (0.06, 1), (0.25, 1), (0.26, 2), (0.5, 2), (1.0, 3)]
)
def test_the_moment_is_the_first_with_twice_sigma(sigma, moment):
    assert timestep_of(sigma, SCHEDULE) == moment


def test_more_noise_than_the_diffusion_has_is_refused():
    with pytest.raises(InputError, match="more noise than this diffusion ever adds"):
        timestep_of(1.1, SCHEDULE)


class Oracle:
    """A denoiser of grey images that knows the clean one and predicts the noise that this implies."""

    channels = 1
    prediction = "epsilon"
    alphas_cumprod = SCHEDULE

    def __init__(self, clean):
        self.clean, self.seen = clean, []

    def __call__(self, latents, times, condition):
        self.seen.append((latents, times))
        kept = SCHEDULE[times][:, None, None, None]
        return (latents - kept.sqrt() * (2 * self.clean - 1)) / (1 - kept).sqrt()


def generator_of(denoiser, **options):
    given = {
        "name": "g", "denoiser": denoiser, "vae": None, "takes": "nothing", "null": lambda count: None,
        "latent_shape": lambda size: None, **options,
    }  # fmt: skip
    return SimpleNamespace(**given)


@pytest.mark.covers("13.15")
@pytest.mark.parametrize(("grey", "sigma", "moment"), [(True, 0.5, 2), (False, 0.5 * 3**0.5, 2)])
def test_the_network_is_queried_once_at_the_noise_of_its_channels_and_in_its_range(grey, sigma, moment):
    clean = torch.rand(3, 1, 4, 4)
    oracle = Oracle(clean)
    denoise = one_shot_denoiser(generator_of(oracle), sigma=sigma, grey=grey, size=(4, 4))
    noisy = clean.expand(-1, 3, -1, -1) + 0.1
    found = denoise(noisy)
    torch.testing.assert_close(found, clean.expand(-1, 3, -1, -1), atol=1e-5, rtol=0)
    ((latents, times),) = oracle.seen
    assert times.tolist() == [moment] * 3
    torch.testing.assert_close(latents, SCHEDULE[moment].sqrt() * (2 * noisy[:, :1] - 1))


@pytest.mark.covers("13.15")
def test_a_denoised_half_depends_on_that_half_alone_and_has_a_gradient():
    generator = load_generator("bundled:fashion-diffusion")
    denoise = one_shot_denoiser(generator, sigma=0.3, grey=True, size=(28, 28))
    images = torch.rand(2, 1, 28, 28)
    changed = torch.where(half_masks(28, 28)[1], images, torch.rand(2, 1, 28, 28))
    branch = Branch("half 1", lambda shown: shown.flatten(1), half=1, view="fill", grey=True, denoise=denoise)
    with torch.no_grad():
        scores = branch.scores(pick(images, 1))
        assert torch.equal(scores, branch.scores(pick(changed, 1)))
    assert float(scores.min()) >= 0
    assert float(scores.max()) <= 1
    variable = pick(images, 1).requires_grad_(True)
    (gradient,) = torch.autograd.grad(branch.scores(variable).sum(), variable)
    assert bool((gradient != 0).any())


@pytest.mark.parametrize("wrong", [{"vae": object()}, {"takes": "prompts"}])
def test_generators_of_latents_or_prompts_are_refused(wrong):
    with pytest.raises(InputError, match="one-shot denoiser is a diffusion of pixels"):
        one_shot_denoiser(generator_of(Oracle(None), **wrong), sigma=0.3, grey=False, size=(4, 4))


def test_a_generator_that_needs_a_class_is_refused():
    bundled = replace(load_generator("bundled:fashion-diffusion"), null_class=None)
    with pytest.raises(InputError, match="no class that means 'none'"):
        one_shot_denoiser(bundled, sigma=0.3, grey=True, size=(28, 28))
