"""The unmodified sampler, its surrogates and their gradients; broken numbers and shapes."""

import dataclasses

import pytest
import torch
from torch import nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.sampler import Sampler
from snellen.systems.generator_failure.drawing import Drawing, as_image
from snellen.systems.generator_failure.latent_search import Prompts, gradient_norms
from tests.systems.generator_failure.parts import Stub, discriminator, drawing, scene_generator


def test_drawing_is_generation_as_users_know_it():
    one = drawing(guidance_scale=2.0)
    made = one.draw(one.latents([3, 5]), one.condition(["a star", "a red ring"]))
    usual = generate(
        Sampler(scene_generator(), steps=3), [3, 5], prompts=["a star", "a red ring"], guidance_scale=2.0
    ).images
    assert torch.equal(made, usual)
    assert one.calls == 2


@pytest.mark.parametrize("last", [0, 1, 3])
def test_a_surrogate_shows_what_the_sampler_draws(last):
    one = drawing(guidance_scale=2.0)
    latents, condition = one.latents([0, 1]), one.condition(["a star"] * 2)
    made = one.draw(latents, condition)
    z = latents.clone().requires_grad_(True)
    surrogate = one.surrogate(z, condition, last_steps=last)
    torch.testing.assert_close(surrogate.clamp(0, 1).detach(), made, atol=1e-4, rtol=0)
    (gradient,) = torch.autograd.grad(surrogate.sum(), z)
    assert gradient.abs().sum() > 0
    torch.testing.assert_close(one.conditioned(latents, condition).clamp(0, 1), made, atol=1e-3, rtol=0)


def test_the_gain_of_the_residual_connection_scales_its_gradient():
    one = drawing()
    latents, condition = one.latents([0]), one.condition(["a star"])
    found = []
    for gain in (0.0, 0.5, 1.0):
        z = latents.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(one.surrogate(z, condition, residual=gain, last_steps=0).sum(), z)
        found.append(gradient)
    assert not found[0].any()
    torch.testing.assert_close(2 * found[1], found[2])


def test_full_back_propagation_is_the_derivative_of_the_sampler():
    one = drawing(steps=2)
    latents, condition = one.latents([0]), one.condition(["a star"])
    z = latents.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(one.surrogate(z, condition, last_steps=2).sum(), z)
    direction = gradient / gradient.norm()
    ends = [one.surrogate(latents + move * direction, condition, last_steps=2).sum() for move in (-0.02, 0.02)]
    assert (ends[1] - ends[0]).item() / 0.04 == pytest.approx(gradient.norm().item(), rel=0.05)


class Forgetful(nn.Module):
    """Predicts the same clean latents whatever the noise was, nearly: its steps contract."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.config = network.config

    def forward(self, latents, *rest, **options):
        clean = torch.full_like(latents, 0.3) + 1e-4 * latents
        return (clean,)


@pytest.mark.covers("7.10")
def test_the_residual_gradient_reaches_the_latent_where_that_of_the_sampler_vanishes(monkeypatch):
    from snellen.models.diffusion import denoiser

    own = scene_generator()
    network = Forgetful(own.denoiser.network)
    monkeypatch.setitem(denoiser.CALLS, "Forgetful", lambda net, latents, times, condition: net(latents)[0])
    contracting = dataclasses.replace(
        own, denoiser=dataclasses.replace(own.denoiser, network=network, prediction="sample")
    )
    norms = {}
    for steps in (2, 20):
        one = Drawing(contracting, steps=steps, guidance_scale=1.0)
        norms[steps] = gradient_norms(
            one, Stub(lambda image, name: False), Prompts("star", ("a star",)), one.latents([0]), Randomness(0)
        )
    assert norms[20]["residual"].item() > 100 * norms[20]["backprop"].item()
    assert norms[20]["residual"].item() == pytest.approx(norms[2]["residual"].item(), rel=0.2)


def test_both_gradients_of_a_trained_generator_are_measured():
    one = drawing()
    found = gradient_norms(one, discriminator(), Prompts("star", ("a star",)), one.latents([0, 1]), Randomness(0))
    assert set(found) == {"residual", "backprop"}
    assert all(bool((norms > 0).all()) and norms.shape == (2,) for norms in found.values())


def test_a_latent_that_leads_nowhere_gives_an_invalid_image_and_spoils_no_other():
    one = drawing()
    latents = one.latents([0, 1])
    alone = one.draw(latents[1:], one.condition(["a star"]))
    latents[0, 0, 0, 0] = torch.inf
    made = one.draw(latents, one.condition(["a star"] * 2))
    assert made[0].isnan().all()
    torch.testing.assert_close(made[1:], alone)


def test_a_layer_at_random_is_refused():
    one = drawing()
    network = one.generator.denoiser.network
    handle = network.register_forward_hook(lambda _, __, made: (made[0] + 0.01 * torch.randn_like(made[0]),))
    try:
        with pytest.raises(InputError, match="different images for the same latent"):
            one.check_deterministic("a star")
    finally:
        handle.remove()
    one.check_deterministic("a star")


def test_latents_prompts_and_generators_that_do_not_fit():
    one = drawing()
    condition = one.condition(["a star"])
    with pytest.raises(InputError, match=r"takes latents \(n, 8, 8, 8\); got \(1, 4, 8, 8\)"):
        one.draw(torch.zeros(1, 4, 8, 8), condition)
    with pytest.raises(InputError, match="2 latents came with 1 prompts"):
        one.draw(one.latents([0, 1]), condition)
    with pytest.raises(InputError, match="the last 0 to 3 steps"):
        one.surrogate(one.latents([0]), condition, last_steps=4)
    with pytest.raises(InputError, match="tokens with its start and end"):
        one.condition(["star " * 60])
    with pytest.raises(InputError, match="takes classes"):
        Drawing(dataclasses.replace(one.generator, text=None, classes=3), steps=2)


def test_as_image_cuts_values_and_keeps_gradients():
    made = torch.tensor([-0.5, 0.5, 1.5], requires_grad=True)
    shown = as_image(made)
    assert shown.tolist() == pytest.approx([0.0, 0.5, 1.0])
    (gradient,) = torch.autograd.grad(shown.sum(), made)
    assert gradient.tolist() == [1.0, 1.0, 1.0]
