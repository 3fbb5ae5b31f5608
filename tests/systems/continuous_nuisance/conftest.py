"""A Stable Diffusion 2 of random weights, and two sliders of it that do something."""

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.systems.continuous_nuisance.slider import SliderCard, SliderFit, generator_identity, save_slider

pytest.importorskip("diffusers")
pytest.importorskip("peft")


def strong_slider(generator, folder, words, seed, size=0.2):
    """A slider with weights drawn at random."""
    identity, fit = generator_identity(generator), SliderFit()
    adapters = Adapters(generator.denoiser.network)
    adapters.add("drawn", fit.low_rank(), rng=Randomness(seed))
    with torch.no_grad():
        for number, parameter in enumerate(adapters.parameters("drawn")):
            drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(100 * seed + number))
            parameter.copy_(size * drawn)
    card = SliderCard(
        words=words, prompts=("a cat",), shifted=(f"a cat, {words}",), fit=fit, generator=generator.name,
        generator_identity=identity,
    )  # fmt: skip
    try:
        return save_slider(adapters, "drawn", folder, card)
    finally:
        adapters.unload()


@pytest.fixture(scope="session")
def generator(tmp_path_factory):
    folder = write_smoke_folder("stable-diffusion-2.1", tmp_path_factory.mktemp("nuisance") / "sd")
    return load_generator(f"diffusers:{folder}")


@pytest.fixture(scope="session")
def sampler(generator):
    return Sampler(generator, steps=4)


@pytest.fixture(scope="session")
def sliders(generator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sliders")
    names = ("snow", "sand")
    return {name: strong_slider(generator, folder / name, f"in {name}", seed) for seed, name in enumerate(names)}
