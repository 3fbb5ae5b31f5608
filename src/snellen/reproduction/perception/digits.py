"""A few digits of each class to learn, and others to test: the reduced sets R5 … R50 of the paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.randomness import derive_seed
from snellen.data.files.catalogue.loading import load_known
from snellen.training.batches import ImageStore


@dataclass(frozen=True, eq=False)
class Digits:
    """Grey digits in [0, 1].

    Args:
        train: images (n, 1, s, s) with their classes; ``per_class`` of each.
        test_images: (m, 1, s, s), none of them among those of ``train``.
        test_labels: int64 (m,).
        val: other images, which choose the epoch of a classifier.
    """

    train: ImageStore
    test_images: Tensor
    test_labels: Tensor
    val: ImageStore


def digits(name: str, *, per_class: int, test: int, val: int, side: int, seed: int) -> Digits:
    """Draw a reduced set and test images from a known set without a split of its own.

    Args:
        name: ``mnist-5k``, a part of MNIST, or ``digits``, of 8 pixels.
        per_class: images of each class to train on (the n of Rn).
        test: images to test on, of the others.
        val: images to choose an epoch on, of those that are left.
        side: height and width, pixels.
        seed: of the draw.

    Raises:
        InputError: the set is not installed; the message says how to install it.
    """
    images = load_known(name)
    labels = np.asarray(images.labels)
    order = np.random.default_rng(derive_seed(seed, "digits", name)).permutation(len(images))
    ranks = {
        int(place): rank for group in np.unique(labels) for rank, place in enumerate(order[labels[order] == group])
    }
    chosen = [int(place) for place in order if ranks[int(place)] < per_class]
    rest = [int(place) for place in order if ranks[int(place)] >= per_class]
    others, choosing = rest[:test], rest[test : test + val]
    return Digits(
        train=ImageStore.of_tensors(_pixels(images, chosen, side), torch.tensor(labels[chosen])),
        test_images=_pixels(images, others, side),
        test_labels=torch.tensor(labels[others]),
        val=ImageStore.of_tensors(_pixels(images, choosing, side), torch.tensor(labels[choosing]), split="val"),
    )


def _pixels(images: ImageSet, places: list[int], side: int) -> Tensor:
    prepare = Preprocessing(size=(side, side), resize="exact", resize_to=(side, side))
    return to_unit(torch.stack([prepare.pixels(images.read(place)) for place in places])).mean(1, keepdim=True)
