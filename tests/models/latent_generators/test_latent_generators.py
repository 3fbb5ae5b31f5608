"""Latent generators by reference: a decoder, first noise of diffusion models, an autoencoder, and any module."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.core.errors import InputError, ModelError
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.models.latent_generators.latent_generator import LatentGenerator
from snellen.models.latent_generators.of_autoencoder import fit_prior
from snellen.models.latent_generators.of_diffusion import first_noise
from snellen.models.latent_generators.references import load_latent_generator, pixels_of


def flat(dimension=2, side=4):
    return nn.Sequential(nn.Linear(dimension, 3 * side**2), nn.Unflatten(1, (3, side, side)))


def test_a_module_becomes_a_frozen_generator_with_gradients_for_its_latents():
    module = flat().train()
    generator = LatentGenerator(module, 2, name="own", values="signed")
    assert not module.training
    assert not any(weight.requires_grad for weight in module.parameters())
    latents = torch.zeros(3, 2, requires_grad=True)
    images = generator(latents)
    assert images.shape == (3, 3, 4, 4)
    assert torch.allclose(images, (module(latents) / 2 + 0.5).clamp(0, 1))
    images.sum().backward()
    assert float(latents.grad.abs().sum()) > 0
    assert torch.equal(generator.images(latents.detach(), together=2), images.detach())
    assert generator.identity == LatentGenerator(module, 2, name="other").identity


def test_truncation_scales_latents_or_is_that_of_the_decoder():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.seen = flat(), []

        def forward(self, latents):
            return self.inner(latents)

        def truncated(self, latents, truncation):
            self.seen.append(truncation)
            return self.inner(latents)

    own, plain = Own(), flat()
    LatentGenerator(own, 2, name="own")(torch.ones(1, 2), 0.7)
    assert own.seen == [1.0, 0.7]
    generator = LatentGenerator(plain, 2, name="plain")
    assert torch.equal(generator(torch.ones(1, 2), 0.5), generator(torch.full((1, 2), 0.5)))
    for wrong in (0.0, 1.5):
        with pytest.raises(InputError, match=r"truncation is in \(0, 1\]"):
            generator(torch.ones(1, 2), wrong)


def test_what_is_no_generator_is_refused():
    with pytest.raises(InputError, match="at least 2 dimensions; got 1"):
        LatentGenerator(flat(1), 1, name="own")
    with pytest.raises(InputError, match=r"expected images \(1, 3, h, w\).*got \(1, 48\)"):
        LatentGenerator(nn.Linear(2, 48), 2, name="own")
    with pytest.raises(ModelError, match="not finite"):
        LatentGenerator(lambda z: torch.full((len(z), 3, 4, 4), float("nan")), 2, name="own")
    with pytest.raises(InputError, match=r"takes latents \(n, 2\); got \(1, 3\)"):
        LatentGenerator(flat(), 2, name="own")(torch.zeros(1, 3))
    with pytest.raises(InputError, match="no gradients of its images"):
        LatentGenerator(lambda z: flat()(z).detach(), 2, name="own").check_gradients()


def test_the_embedded_decoder_draws_scenes_of_unequal_colours():
    generator = load_latent_generator("bundled:scene-decoder")
    assert (generator.dimension, generator.image_size) == (16, (32, 32))
    generator.check_gradients()
    images = generator.images(generator.draw(Randomness(0).bind(200)))
    assert images.shape == (200, 3, 32, 32)
    red = (images[:, 0] - images[:, 1:].amax(1) > 0.3).flatten(1).double().mean(1) > 0.02
    assert 0.4 < float(red.double().mean()) < 0.95


@pytest.mark.parametrize(
    "reference", ["bundled:scene-diffusion?steps=2&prompt=a red star", "bundled:fashion-diffusion?steps=2&class=3"]
)
def test_the_first_noise_of_a_diffusion_model_is_its_latent(reference):
    generator = load_latent_generator(reference)
    generator.check_gradients()
    own = load_generator(reference.partition("?")[0])
    condition = {"prompts": ["a red star"] * 2} if own.takes == "prompts" else {"classes": [3] * 2}
    noise = seeded([3, 5]).normal("noise", own.latent_shape())
    sampled = generate(Sampler(own, steps=2), [3, 5], **condition, batch_size=2).images
    found = generator(noise.flatten(1))
    assert torch.allclose(found, sampled.expand(-1, 3, -1, -1), atol=1e-5)
    # Gradients through the steps are those of finite differences.
    at = noise[:1].flatten(1).double().float().requires_grad_(True)
    weights = torch.randn(found[:1].shape, generator=torch.Generator().manual_seed(0))
    (generator(at) * weights).sum().backward()
    along = torch.nn.functional.normalize(at.grad, dim=1)
    step = 5e-3
    with torch.no_grad():
        change = ((generator(at + step * along) - generator(at - step * along)) * weights).sum() / (2 * step)
    assert float(change) == pytest.approx(float((at.grad * along).sum()), rel=0.1)


def test_a_diffusion_model_takes_its_own_kind_of_condition():
    prompts = load_generator("bundled:scene-diffusion")
    with pytest.raises(InputError, match="takes prompts; leave out the other condition"):
        first_noise(prompts, steps=1, class_index=2)
    assert first_noise(prompts, steps=1).dimension == 512


def test_the_latent_dimension_of_stable_diffusion_is_that_of_its_latents(tmp_path):
    folder = write_smoke_folder("stable-diffusion-1.5", tmp_path / "model")
    generator = load_latent_generator(f"diffusers:{folder}?steps=1&prompt=a dog")
    own = load_generator(f"diffusers:{folder}")
    assert generator.dimension == np.prod(own.latent_shape())
    assert generator.image_size == own.image_size


def test_an_autoencoder_gets_a_prior_fitted_to_images(tmp_path):
    (tmp_path / "images").mkdir()
    draws = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(draws.integers(0, 256, (40, 32, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{number}.png")
    from snellen.core.package import asset

    reference = f"autoencoder:{asset('scene-diffusion')}?dimension=6&images={tmp_path / 'images'}"
    generator = load_latent_generator(reference)
    assert (generator.dimension, generator.image_size) == (6, (32, 32))
    generator.check_gradients()
    assert generator.decoder.mean.shape == (512,)
    middle = generator(torch.zeros(1, 6))
    assert not torch.allclose(middle, generator(torch.ones(1, 6)), atol=0.02)
    with pytest.raises(InputError, match="needs more than 64 images"):
        load_latent_generator(f"autoencoder:{asset('scene-diffusion')}?images={tmp_path / 'images'}")
    with pytest.raises(InputError, match="fitted to images; add"):
        load_latent_generator(f"autoencoder:{asset('scene-diffusion')}")


def test_a_prior_has_the_mean_and_the_spread_of_the_latents():
    latents = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1.0, 0.1]) + 5
    prior = fit_prior(latents, 2)
    drawn = prior.mean + torch.randn(4000, 2, generator=torch.Generator().manual_seed(1)) @ prior.basis
    assert torch.allclose(drawn.mean(0), latents.mean(0), atol=0.2)
    assert torch.allclose(drawn.std(0)[:2], latents.std(0)[:2], rtol=0.05)
    assert 0.99 < prior.explained < 1
    with pytest.raises(InputError, match="vary in fewer than 2 directions"):
        fit_prior(torch.arange(10.0)[:, None].expand(-1, 3), 2)


def test_images_that_cannot_be_read_are_left_out_with_a_warning(tmp_path):
    Image.new("RGB", (8, 6), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="1 of 2 images cannot be read and are left out"):
        assert pixels_of(load_images(tmp_path), 4).shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("folder:x", "kind of latent generator"),
        ("bundled:", "names no latent generator"),
        ("bundled:scene-decoder?steps=2", "a decoder has no options"),
        ("bundled:scene-diffusion?size=2", "size"),
        ("bundled:scene-diffusion?steps=none", "steps is a whole number"),
        ("artifact:nowhere", "is not an artifact"),
        ("bundled:scene-judge", "not a decoder of latents"),
        ("autoencoder:nowhere?images=x", "holds no AutoencoderKL"),
    ],
)
def test_references_that_cannot_be_used_are_refused(reference, message):
    with pytest.raises(InputError, match=message):
        load_latent_generator(reference)
