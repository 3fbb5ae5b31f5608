"""Bags of images whose share of positive instances can be set: slides of stained tissue, and garments.

A material holds more instances of each bag than a bag shows. At a rate, a positive bag shows its first positive ones up
to that share and fills up with its first negative ones; a higher rate replaces negatives by positives and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Split
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.data.files.bags import Bags
from snellen.data.worlds.slides.slides import Slides
from snellen.reproduction.multiple_instance.ways import Task
from snellen.reproduction.shared.fashion_mnist import fashion_mnist
from snellen.systems.multiple_instance.bag_instances import BagInstances

RATES = (0.5, 0.1, 0.02)

#: Garment that is positive; all others are negative. A linear probe of a random network finds it, and a trained one
#: finds it better: shirts few ways could learn from labels of bags, and of ankle boots little was left to learn.
POSITIVE_GARMENT = "dress"

#: Slides on which the instances of a bag can be found at every rate. One laboratory stained them: of a few dozen slides
#: of three, the stain goes with the label by chance, and labels of bags then teach the stain.
SLIDES = Slides(tiles_across=44, tile_size=32, positive_rate=0.35, sites=1)

#: Height and width at which the encoder sees an instance, pixels.
SIDE = 32


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many bags of each split, half of them positive, and how many instances each shows."""

    train: int = 44
    val: int = 20
    test: int = 40
    shown: int = 50
    rates: tuple[float, ...] = RATES

    def bags(self, split: Split) -> int:
        """Bags of a split."""
        return int(getattr(self, split))

    def held(self, label: int) -> tuple[int, int]:
        """Positive and negative instances that a bag of this label holds, enough for every rate."""
        if not label:
            return 0, self.shown
        positives = [positives_at(rate, self.shown) for rate in self.rates]
        return max(positives), self.shown - min(positives)


@dataclass(frozen=True, eq=False)
class Material:
    """Instances of a split with their pixels.

    Args:
        images: with columns label (of the instance), bag_id and bag_label, in the order in which bags take them.
        pixels: of all of them, uint8 (n, 3·side²); or what stands for them, such as numbers in a bank, (n, 1).
        shown: instances that a bag shows.
    """

    images: ImageSet
    pixels: Tensor
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
        images = self.images.select(chosen)
        found = Bags.of(images.unlabelled())
        instances = BagInstances(
            inputs=self.pixels[torch.from_numpy(chosen)],
            of_bag=torch.from_numpy(found.of_image),
            labels=torch.from_numpy(found.labels),
            ids=tuple(images.ids),
            bag_ids=found.ids,
            split=images.split,
        )
        return instances, truth[chosen]


def positives_at(rate: float, shown: int) -> int:
    """Positive instances of a positive bag, at least one."""
    return max(1, round(rate * shown))


def material(images: ImageSet, sizes: Sizes, progress: Progress, *, side: int = SIDE) -> Material:
    """Read what the bags hold, at side × side pixels.

    Raises:
        RejectedImageError: an image that cannot be used.
    """
    assert images.rows is not None
    preparation = Preprocessing(size=(side, side), resize="shorter", resize_to=(side, side))
    pixels = torch.empty(len(images), 3 * side * side, dtype=torch.uint8)
    progress.begin("read instances", len(images))
    # In the order of the source, which renders neighbours together.
    for row in np.argsort(images.rows, kind="stable").tolist():
        pixels[row] = preparation.pixels(images.read(row)).flatten()
        progress.advance("read instances", 1)
    progress.finish("read instances")
    return Material(images, pixels, sizes.shown)


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
    return bags_of(garments, POSITIVE_GARMENT, split, sizes, seed)


def bags_of(images: ImageSet, positive: str, split: Split, sizes: Sizes, seed: int) -> ImageSet:
    """Labelled images in bags, none in two.

    Args:
        images: those of the test split, or those that the train and the validation split share between them.
        positive: class whose images are positive, in any case; all others are negative.
        split: to build.
        sizes: numbers of bags and instances.
        seed: of what goes where.

    Raises:
        InputError: no such class, or too few images.
    """
    names = [name.lower() for name in images.class_names or ()]
    if positive not in names:
        raise InputError(f"{images.name} has no class {positive!r}; it has: {', '.join(names)}")
    of_class = images.labels == names.index(positive)
    generator = np.random.default_rng(derive_seed(seed, "test" if split == "test" else "fitting", "garments"))
    pools = {1: generator.permutation(np.flatnonzero(of_class)), 0: generator.permutation(np.flatnonzero(~of_class))}
    if split == "val":  # behind those of the train split
        pools = {label: pool[_needed(sizes, "train", label) :] for label, pool in pools.items()}
    for label, pool in pools.items():
        if len(pool) < _needed(sizes, split, label):
            raise InputError(
                f"{images.name} has {len(pool)} images for instances of class {label} in the {split} split; "
                f"{sizes.bags(split)} bags need {_needed(sizes, split, label)}"
            )
    rows: list[int] = []
    bags: list[tuple[str, int]] = []
    for number in range(sizes.bags(split)):
        label = number % 2
        for truth, count in zip((1, 0), sizes.held(label), strict=True):
            rows += pools[truth][:count].tolist()
            pools[truth] = pools[truth][count:]
            bags += [(f"{split}/bag-{number:04d}", label)] * count
    chosen = images.select(rows)
    table = {
        "id": pa.array([f"{split}/{one}" for one in chosen.ids], COLUMNS["id"]),
        "label": pa.array(of_class[rows].astype(np.int64), COLUMNS["label"]),
        "bag_id": pa.array([bag for bag, _ in bags], COLUMNS["bag_id"]),
        "bag_label": pa.array([label for _, label in bags], COLUMNS["bag_label"]),
    }
    return replace(chosen, table=pa.table(table), class_names=("negative", "positive"), split=split)


def _needed(sizes: Sizes, split: Split, of_class: int) -> int:
    """Instances of a class that the bags of a split hold together."""
    return sum(sizes.held(number % 2)[1 - of_class] for number in range(sizes.bags(split)))


#: Worlds by name: (split, sizes, seed) → instances in bags.
WORLDS: dict[str, Callable[[Split, Sizes, int], ImageSet]] = {"slides": slide_bags, "garments": garment_bags}


def task_at(rate: float, held: Mapping[Split, Material]) -> Task:
    """The bags of all splits at a share of positive instances."""
    (instances, train_truth), (val, _), (test, test_truth) = (
        held[split].at(rate) for split in ("train", "val", "test")
    )
    return Task(instances=instances, val=val, test=test, train_truth=train_truth, test_truth=test_truth)
