"""Runs of gradient-free guidance that remember what was asked on the way, on tiny networks."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.models.diffusion.smoke import fill, write_smoke_folder
from snellen.systems.gradient_free_guidance.gradient_free import (
    Deciding,
    GradientFreeRule,
    away_from_confusion,
)

STEPS, CLASSES = 4, 5
OWN = torch.tensor([3, 1, 4])
SEEDS = (11, 12, 13)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = tmp_path_factory.mktemp("gradient-free")
    for name, seed in (("class-unet", 0), ("class-unet", 1), ("dit", 0)):
        write_smoke_folder(name, made / f"{name}-{seed}", seed=seed)
    return made


@pytest.fixture(scope="module")
def generator(folders):
    return load_generator(f"diffusers:{folders / 'class-unet-0'}")


@pytest.fixture(scope="module")
def weak(folders):
    return load_generator(f"diffusers:{folders / 'class-unet-1'}").denoiser


def network(gain=40.0):
    """A small classifier of random weights, so sure of some images that it is confused of others."""
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES)
    )
    fill(made, Randomness(0))
    made[-1].weight.data *= gain
    return made


@pytest.fixture(scope="module")
def classifier():
    return Classifier(network(), class_names="abcde", preparation=Preprocessing(size=(32, 32)))


@contextmanager
def counted_calls(generator):
    """Rows of each call of the denoiser."""
    calls = []
    handle = generator.denoiser.network.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    try:
        yield calls
    finally:
        handle.remove()


class Run:
    """One guided run, with everything that was asked on the way."""

    def __init__(self, generator, read, rule=None, own=OWN, seeds=SEEDS, terms=None, solver="ddim"):
        self.shown, self.views, sampler = [], [], Sampler(generator, steps=STEPS, solver=solver)

        def looking(view):
            self.views.append(view)
            self.shown.append(view.index)
            return read(view)

        self.reported = []

        def reported(classes):
            self.reported.append(classes)
            return generator.encode_classes(classes.tolist())

        self.deciding = Deciding(rule or GradientFreeRule(), looking, own, seeded(seeds))
        made = (terms or (lambda deciding, reported: [away_from_confusion(deciding, reported)]))(
            self.deciding, reported
        )
        self.state = sampler.run(sampler.start(seeded(seeds)), generator.encode_classes(own.tolist()), guidance=made)
        self.latents = self.state.latents


#: Of three samples of the classes OWN.
CERTAIN = [[0.0, 0, 0, 900, 0], [0, 900.0, 0, 0, 0], [0, 0, 0, 0, 900.0]]


def said(*logits):
    """A classifier that says the same of everything."""
    return lambda view: torch.tensor(logits)[: len(view)]


def plain(generator, terms=(), own=OWN, seeds=SEEDS, solver="ddim"):
    sampler = Sampler(generator, steps=STEPS, solver=solver)
    return sampler.run(sampler.start(seeded(seeds)), generator.encode_classes(own.tolist()), guidance=list(terms))
