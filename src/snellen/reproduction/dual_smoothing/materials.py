"""Images whose neighbouring pixels say much the same, and the same images after they no longer stand beside each other.

Gratings are smooth textures: each class is a direction, and wavelength, phase, contrast and brightness are drawn. Mixed
gratings are the same with all pixels at other places, the same for all images: nothing is lost, and nothing is near.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from snellen.core.images import COLUMNS, ImageSet, Split
from snellen.core.randomness import derive_seed
from snellen.data.files.arrays import load_arrays
from snellen.reproduction.shared.fashion_mnist import fashion_mnist

#: Directions of the gratings, which are the classes.
DIRECTIONS = 6

#: Height and width of a grating.
SIDE = 16


@dataclass(frozen=True)
class Sizes:
    """How many images are trained on and certified."""

    train: int
    test: int

    def of(self, split: Split) -> int:
        """Images of a split."""
        return self.test if split == "test" else self.train


def garments(split: Split, sizes: Sizes, seed: int) -> ImageSet:
    """Images of Fashion-MNIST, drawn by the seed."""
    images = fashion_mnist("test" if split == "test" else "train")
    order = np.random.default_rng(derive_seed(seed, "garments", split)).permutation(len(images))
    return images.select(order[: sizes.of(split)])


def gratings(split: Split, sizes: Sizes, seed: int) -> ImageSet:
    """Smooth textures of :data:`DIRECTIONS` classes."""
    pixels, labels = _drawn(split, sizes, seed)
    return _as_set(pixels, labels, split, "gratings")


def mixed_gratings(split: Split, sizes: Sizes, seed: int) -> ImageSet:
    """The same with all pixels in another order, which is the same for every image of a seed."""
    pixels, labels = _drawn(split, sizes, seed)
    order = np.random.default_rng(derive_seed(seed, "order of pixels")).permutation(SIDE * SIDE)
    mixed = pixels.reshape(len(pixels), -1)[:, order].reshape(pixels.shape)
    return _as_set(mixed, labels, split, "mixed gratings")


def _drawn(split: Split, sizes: Sizes, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    generator = np.random.default_rng(derive_seed(seed, "gratings", split))
    count = sizes.of(split)
    labels = np.arange(count) % DIRECTIONS
    angle = (labels + generator.uniform(-0.3, 0.3, count)) * np.pi / DIRECTIONS
    wavelength, phase = generator.uniform(6, 12, count), generator.uniform(0, 2 * np.pi, count)
    contrast, light = generator.uniform(0.15, 0.45, count), generator.uniform(0.45, 0.55, count)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    along = columns * np.cos(angle)[:, None, None] + rows * np.sin(angle)[:, None, None]
    waves = np.sin(2 * np.pi * along / wavelength[:, None, None] + phase[:, None, None])
    values = light[:, None, None] + contrast[:, None, None] * waves
    return (values.clip(0, 1) * 255).round().astype(np.uint8), labels


def _as_set(pixels: NDArray[np.uint8], labels: NDArray[np.int64], split: Split, name: str) -> ImageSet:
    names = [f"{180 * number // DIRECTIONS} degrees" for number in range(DIRECTIONS)]
    images = load_arrays(pixels, labels, class_names=names)
    ids = pa.array([f"{name}/{split}/{number}" for number in range(len(pixels))], COLUMNS["id"])
    place = images.table.column_names.index("id")
    return replace(images, table=images.table.set_column(place, "id", ids), name=name)
