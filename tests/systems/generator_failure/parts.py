"""Small parts of a search: members whose answers are known, and the embedded generator with few steps."""

import functools
import warnings

import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.factor_judge import load_judge
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.loading import load_generator
from snellen.systems.generator_failure.discriminator import Discriminator, Verdict, Views, WeakEnsembleWarning
from snellen.systems.generator_failure.drawing import Drawing

SHAPES = ("square", "triangle", "star", "cross", "ring", "heart")


class Red(nn.Module):
    """Class ``red`` by the mean of red over blue, plus a direction of its own that a search may exploit."""

    def __init__(self, seed=None, size=8, spurious=0.0):
        super().__init__()
        own = torch.zeros(1, 3, size, size)
        own[:, 0], own[:, 2] = 1.0, -1.0
        noise = torch.randn(own.shape, generator=torch.Generator().manual_seed(seed or 0))
        self.register_buffer("weight", 0.6 * own / own.norm() + spurious * noise / noise.norm())

    def forward(self, images):
        score = (images * self.weight).flatten(1).sum(1)
        return torch.stack([score, -score], 1)


def member(seed=None, *, names=("red", "blue"), spurious=0.0, name=None, recipe=None):
    preparation = Preprocessing(size=(8, 8), resize="exact", resize_to=(8, 8))
    return Classifier(
        Red(seed, spurious=spurious), class_names=names, preparation=preparation, name=name or f"red {seed}",
        recipe=recipe,
    )  # fmt: skip


@functools.cache
def scene_generator():
    return load_generator("bundled:scene-diffusion")


def drawing(steps=3, guidance_scale=1.0, **options):
    return Drawing(scene_generator(), steps=steps, guidance_scale=guidance_scale, **options)


@functools.cache
def cnn():
    return load_classifier("bundled:scene-cnn")


@functools.cache
def judge():
    return load_judge().classifier("shape")


@functools.cache
def discriminator():
    """One member is warned of, which is tested elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEnsembleWarning)
        return Discriminator([cnn()], SHAPES, views=Views(count=1))


class Stub:
    """A discriminator of a search that succeeds when a rule says so; gradients are those of the image's mean.

    The first ``spared`` verdicts find no failure.
    """

    classes = SHAPES
    quorum = 1
    members = ()

    def __init__(self, fails, seen="heart", spared=0):
        self.fails, self.seen, self.looked, self.spared = fails, seen, [], spared

    def loss(self, images, name, rng):
        return images.mean((1, 2, 3))

    def verdict(self, images, name):
        self.looked.append(images)
        valid = torch.isfinite(images).flatten(1).all(1)
        failed = torch.tensor([bool(self.fails(one, name)) for one in torch.nan_to_num(images)]) & valid
        failed &= len(self.looked) > self.spared
        return Verdict(failed, valid, torch.full((len(images), 1), 0.01), (self.seen,) * len(images))

    def decides(self, images, name):
        return torch.tensor([[not self.fails(one, name)] for one in images])
