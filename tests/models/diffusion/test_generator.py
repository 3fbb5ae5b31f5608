"""Classes, latents and pixels of a generator."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition


def pictures(generator, count=2):
    channels = 3
    return Randomness(1).bind(count).uniform("pictures", (channels, *generator.image_size))


@pytest.mark.parametrize("name", ["stable-diffusion-1.5", "stable-diffusion-xl", "dit"])
def test_latents_are_those_of_the_decoder(smoke, name):
    generator = smoke(name)
    images = pictures(generator)
    latents = generator.encode(images)
    assert tuple(latents.shape[1:]) == generator.latent_shape()
    with torch.no_grad():
        found = generator.vae.encode(images * 2 - 1).latent_dist
        torch.testing.assert_close(latents, found.mode() * generator.vae.config.scaling_factor)
        pixels = generator.vae.decode(latents / generator.vae.config.scaling_factor).sample
        torch.testing.assert_close(generator.decode(latents), (pixels / 2 + 0.5).clamp(0, 1))
    drawn = generator.encode(images, Randomness(0))
    spread = found.std * generator.vae.config.scaling_factor
    expected = Randomness(0).bind(2).normal("encode", latents.shape[1:]) * spread
    torch.testing.assert_close(drawn - latents, expected, atol=1e-5, rtol=1e-4)


def test_pixels_are_their_own_latents(smoke):
    generator = smoke("class-unet")
    images = pictures(generator)
    torch.testing.assert_close(generator.decode(generator.encode(images)), images)
    outside = torch.full((1, 3, 32, 32), 3.0)
    assert float(generator.decode(outside).max()) == 1
    assert float(generator.decode(outside, clamp=False).max()) == 2


def test_decoding_is_differentiable(smoke):
    latents = torch.zeros(1, 4, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(smoke("dit").decode(latents, clamp=False).sum(), latents)
    assert float(gradient.abs().max()) > 0


def test_sizes_that_cannot_be_made_are_refused(smoke):
    assert smoke("stable-diffusion-1.5").latent_shape((72, 64)) == (4, 9, 8)
    assert smoke("unconditional-unet").latent_shape((64, 40)) == (3, 64, 40)
    for name, size, multiple in (
        ("stable-diffusion-1.5", (60, 64), 8),
        ("dit", (72, 64), 16),
        ("class-unet", (28, 32), 8),
    ):
        with pytest.raises(InputError, match=rf"multiples of {multiple}; got \({size[0]}, {size[1]}\)"):
            smoke(name).latent_shape(size)
    with pytest.raises(InputError, match=r"multiples of 8; got \(60, 64\)"):
        smoke("stable-diffusion-1.5").encode(torch.zeros(1, 3, 60, 64))
    with pytest.raises(InputError, match=r"got \(3, 64, 64\)"):
        smoke("dit").encode(torch.zeros(3, 64, 64))
    with pytest.raises(InputError, match="makes images of 3 channels; got 1"):
        smoke("class-unet").encode(torch.zeros(1, 1, 32, 32))


def test_classes(smoke):
    generator = smoke("class-unet")
    assert generator.encode_classes([3, 9]).classes.tolist() == [3, 9]
    for wrong in (10, -1):
        with pytest.raises(InputError, match=f"has classes 0 to 9; got {wrong}"):
            generator.encode_classes([0, wrong])
    with pytest.raises(InputError, match="takes prompts, not classes"):
        smoke("pixart").encode_classes([0])
    assert len(smoke("unconditional-unet").null(3)) == 3


def test_a_condition_of_another_kind_is_refused(smoke):
    latents, times = torch.zeros(1, 4, 8, 8), torch.tensor([10])
    for name, part in (("stable-diffusion-1.5", "text"), ("dit", "classes"), ("pixart", "text")):
        with pytest.raises(InputError, match=f"the denoiser needs a condition with {part}; this one has"):
            smoke(name).denoiser(latents, times, Condition(count=1))


def test_another_network_takes_the_place_of_the_denoisers(smoke):
    generator = smoke("class-unet")
    twin = type(generator.denoiser.network).from_config(generator.denoiser.network.config).eval()
    replaced = generator.with_denoiser(twin)
    assert replaced.denoiser.network is twin
    assert replaced.denoiser.channels == 3
    assert replaced.classes == 10
    assert generator.denoiser.network is not twin
