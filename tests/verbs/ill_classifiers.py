"""Classifiers with one thing wrong, and images to treat them with: made in a second or two."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.arrays import load_arrays
from snellen.data.references import load_images
from snellen.models.classifiers.references import load_classifier

#: Of the bundled sample, by position: trained on, chosen by, audited.
TRAIN, VAL, AUDITED = slice(0, 700), slice(700, 1000), slice(1000, 1800)

#: What the classifiers are given.
SEEN = Preprocessing(size=(28, 28))


@cache
def garments() -> dict[str, ImageSet]:
    """Three sets of garments without a common image, none of which calls itself a test set."""
    whole = load_images("bundled:fashion-mnist")
    parts = {"train": TRAIN, "val": VAL, "audited": AUDITED}
    return {name: _plain(whole.select(range(len(whole))[part], name=name), name) for name, part in parts.items()}


def _plain(images: ImageSet, name: str) -> ImageSet:
    """The images in memory, without a split."""
    pixels = np.stack([np.asarray(images.read(row)) for row in range(len(images))])
    made = load_arrays(pixels, images.labels, class_names=images.class_names, name=name)
    renamed = made.table.set_column(
        made.table.column_names.index("id"), "id", pa.array([f"{name}-{row}" for row in range(len(made))])
    )
    return ImageSet(made.source, renamed, made.class_names, name)


def classifier_of(network: nn.Module) -> Classifier:
    """A classifier of garments with this network."""
    healthy = load_classifier("bundled:fashion-cnn")
    return Classifier(
        network,
        class_names=healthy.class_names,
        preparation=healthy.preparation,
        normalization=healthy.normalization,
        name="ill",
    )


@cache
def healthy() -> nn.Module:
    """The network of the bundled classifier."""
    module = load_classifier("bundled:fashion-cnn").module
    assert module is not None
    return module


def overconfident(factor: float = 4.0, noise: float = 1.0) -> nn.Module:
    """Often wrong, and much too sure."""
    network = copy.deepcopy(healthy())
    last = _last(network)
    drawn = torch.randn(last.weight.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        last.weight.add_(noise * last.weight.std() * drawn).mul_(factor)
        last.bias.mul_(factor)
    return network


def blind_to(*labels: int, by: float = 30.0) -> nn.Module:
    """Never decides for these classes."""
    network = copy.deepcopy(healthy())
    with torch.no_grad():
        _last(network).bias[list(labels)] -= by
    return network


def _last(network: nn.Module) -> nn.Linear:
    layers = [one for one in network.modules() if isinstance(one, nn.Linear)]
    return layers[-1]
