"""Text layers of generators in the shape of the public ones, and small fitted autoencoders."""

from __future__ import annotations

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.systems.concept_erasing.eraser import concept_eraser
from snellen.systems.concept_erasing.fitting import AutoencoderFit, autoencoder_of, fit_autoencoder
from snellen.systems.concept_erasing.text_layer import text_layer

COLOURS, SHAPES = ("red", "green", "blue", "white"), ("star", "ring", "heart", "box")

#: Every colour with every shape, at two places.
PROMPTS = [f"a {colour} {shape}{place}" for colour in COLOURS for shape in SHAPES for place in ("", " on sand")]
RED = [prompt for prompt in PROMPTS if "red" in prompt]
OTHERS = [prompt for prompt in PROMPTS if "red" not in prompt]
FIT = AutoencoderFit(latents=256, active=6, steps=120, batch_size=256, dead_after=20_000)


@pytest.fixture(scope="session")
def generators(tmp_path_factory):
    """Generators with one and with two text towers, random weights."""
    folder = tmp_path_factory.mktemp("smoke")
    names = ("stable-diffusion-1.5", "stable-diffusion-xl", "pixart")
    return {name: load_generator(f"diffusers:{write_smoke_folder(name, folder / name)}") for name in names}


@pytest.fixture(scope="session")
def sd(generators):
    return generators["stable-diffusion-1.5"]


@pytest.fixture(scope="session")
def xl(generators):
    return generators["stable-diffusion-xl"]


@pytest.fixture(scope="session")
def layer(sd):
    return text_layer(sd.text)


@pytest.fixture(scope="session")
def artifact(layer):
    return fit_autoencoder(layer, PROMPTS, fit=FIT, rng=Randomness(0), generator="smoke")


@pytest.fixture(scope="session")
def autoencoder(artifact, layer):
    return autoencoder_of(artifact, layer)


@pytest.fixture(scope="session")
def eraser(layer, autoencoder):
    """Erases red."""
    return concept_eraser(layer, autoencoder, {"red": RED}, OTHERS, selected=32)


@pytest.fixture(scope="session")
def xl_erasers(xl):
    """Erases red from both towers."""
    found = []
    for tower in (0, 1):
        place = text_layer(xl.text, tower)
        made = fit_autoencoder(place, PROMPTS, fit=FIT, rng=Randomness(tower))
        found.append(concept_eraser(place, autoencoder_of(made, place), {"red": RED}, OTHERS, selected=32))
    return found


def states(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))
