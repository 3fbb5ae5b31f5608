"""Bags whose share of positive instances can be set: slides of stained tissue, and garments of Fashion-MNIST.

A material holds more instances of each bag than a bag shows. At a rate, a positive bag shows its first positive ones up
to that share and fills up with its first negative ones; a higher rate replaces negatives by positives and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Split
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.data.worlds.slides.slides import Slides
from snellen.models.encoders.feature_store import FrozenFeatures, frozen_features
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.reproduction.shared.fashion_mnist import fashion_mnist
from snellen.systems.multiple_instance.bag_instances import BagInstances

RATES = (0.5, 0.2, 0.1, 0.05, 0.01)

#: Garment that is positive; all others are negative. It is often taken for four of them.
POSITIVE_GARMENT = "shirt"

#: Slides on which the instances of a bag can be found at every rate.
SLIDES = Slides(tiles_across=44, tile_size=32, positive_rate=0.35)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many bags of each split, half of them positive, and how many instances each shows."""

    train: int = 60
    val: int = 32
    test: int = 40
    shown: int = 100

    def bags(self, split: Split) -> int:
        """Bags of a split."""
        return int(getattr(self, split))

    def held(self, label: int) -> tuple[int, int]:
        """Positive and negative instances that a bag of this label holds, enough for every rate."""
        if not label:
            return 0, self.shown
        positives = [positives_at(rate, self.shown) for rate in RATES]
        return max(positives), self.shown - min(positives)


@dataclass(frozen=True, eq=False)
class Material:
    """Instances of a split with their vectors.

    Args:
        images: with columns label (of the instance), bag_id and bag_label, in the order in which bags take them.
        features: of all of them.
        shown: instances that a bag shows.
    """

    images: ImageSet
    features: FrozenFeatures
    shown: int

    def at(self, rate: float) -> tuple[BagInstances, NDArray[np.int64]]:
        """Bags with this share of positive instances in the positive ones, and the truth of each instance.

        Where an instance stands in its bag says nothing about its truth: a head may know of places.
        """
        truth, bags = self.images.labels, np.asarray(self.images.column("bag_id"))
        wanted = positives_at(rate, self.shown)
        rows: list[int] = []
        for bag in dict.fromkeys(bags):
            members = np.flatnonzero(bags == bag)
            positive, negative = members[truth[members] == 1], members[truth[members] == 0]
            kept = positive[:wanted]
            taken = np.concatenate([kept, negative[: self.shown - len(kept)]])
            rows += np.random.default_rng(derive_seed("places in", str(bag))).permutation(taken).tolist()
        chosen = np.array(rows, dtype=np.int64)
        features = replace(
            self.features,
            features=self.features.features[chosen],
            ids=tuple(self.features.ids[row] for row in rows),
            positions=np.arange(len(rows), dtype=np.int64),
        )
        return BagInstances.of(self.images.select(chosen), features), truth[chosen]


def positives_at(rate: float, shown: int) -> int:
    """Positive instances of a positive bag, at least one."""
    return max(1, round(rate * shown))


def material(images: ImageSet, sizes: Sizes, encoder: FrozenEncoder, progress: Progress) -> Material:
    """Encode what the bags hold.

    Raises:
        InputError: an image that cannot be used.
    """
    assert images.rows is not None
    # In the order of the source, which renders neighbours together.
    order = np.argsort(images.rows, kind="stable")
    features = frozen_features(images.select(order), encoder, progress=progress)
    if features.rejected:
        raise InputError(f"{len(features.rejected)} images of {images.name} cannot be used")
    back = np.argsort(order, kind="stable")
    vectors, ids = features.features[torch.from_numpy(back)], tuple(images.ids)
    return Material(images, replace(features, features=vectors, ids=ids), sizes.shown)


def slide_bags(split: Split, sizes: Sizes, seed: int) -> ImageSet:
    """Tiles of slides, the same number of each slide, in an order of their own."""
    slides = SLIDES.model_copy(update={"count": sizes.bags(split), "seed": seed})
    tiles = slides.images(split=split)
    bags, labels = np.asarray(tiles.column("bag_id")), tiles.labels
    order = np.random.default_rng(derive_seed(seed, split, "tiles")).permutation(len(tiles))
    rows: list[int] = []
    for bag, label in slides.slide_labels(split=split).items():
        members = order[bags[order] == bag]
        for of_class, count in zip((1, 0), sizes.held(label), strict=True):
            found = members[labels[members] == of_class][:count]
            if len(found) < count:
                raise InputError(f"{bag} has {len(found)} tiles of class {of_class}, fewer than {count}: larger slides")
            rows += found.tolist()
    return tiles.select(rows)


def garment_bags(split: Split, sizes: Sizes, seed: int) -> ImageSet:
    """Images of Fashion-MNIST in bags, none in two; the validation split is of its training images."""
    garments = fashion_mnist("test" if split == "test" else "train")
    assert garments.class_names is not None
    names = [name.lower() for name in garments.class_names]
    positive = garments.labels == names.index(POSITIVE_GARMENT)
    generator = np.random.default_rng(derive_seed(seed, "test" if split == "test" else "fitting", "garments"))
    pools = {1: generator.permutation(np.flatnonzero(positive)), 0: generator.permutation(np.flatnonzero(~positive))}
    if split == "val":  # behind those of the train split
        pools = {label: pool[_needed(sizes, "train", label) :] for label, pool in pools.items()}
    rows: list[int] = []
    bags: list[tuple[str, int]] = []
    for number in range(sizes.bags(split)):
        label = number % 2
        for of_class, count in zip((1, 0), sizes.held(label), strict=True):
            rows += pools[of_class][:count].tolist()
            pools[of_class] = pools[of_class][count:]
            bags += [(f"{split}/bag-{number:04d}", label)] * count
    chosen = garments.select(rows)
    table = {
        "id": pa.array([f"{split}/{one}" for one in chosen.ids], COLUMNS["id"]),
        "label": pa.array(positive[rows].astype(np.int64), COLUMNS["label"]),
        "bag_id": pa.array([bag for bag, _ in bags], COLUMNS["bag_id"]),
        "bag_label": pa.array([label for _, label in bags], COLUMNS["bag_label"]),
    }
    return replace(chosen, table=pa.table(table), class_names=("negative", "positive"), split=split)


def _needed(sizes: Sizes, split: Split, of_class: int) -> int:
    """Instances of a class that the bags of a split hold together."""
    return sum(sizes.held(number % 2)[1 - of_class] for number in range(sizes.bags(split)))


#: Worlds by name: (split, sizes, seed) → instances in bags.
WORLDS: dict[str, Callable[[Split, Sizes, int], ImageSet]] = {"slides": slide_bags, "garments": garment_bags}
