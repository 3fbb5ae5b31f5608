"""Images whose neighbouring pixels say much the same, and images whose pixels say nothing of each other.

Gratings are smooth textures: each class is a direction, and wavelength, phase, contrast and brightness are drawn. In
patterns each class is a drawing of light and dark. Of blocks, four neighbours are one value, so that either half of the
pixels holds all of it. Of independent pixels, each is drawn and varies by itself, so that a half holds half of it.

In both worlds of patterns any two classes differ in exactly half of the pixels, and in as many of either half. Images
of a class deviate equally along the difference of two others. Blocks have fewer values that vary, 64 and not 256. The
images of a row of one world and of the other have nothing to do with each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.linalg import hadamard

from snellen.core.images import COLUMNS, ImageSet, Split
from snellen.core.randomness import derive_seed
from snellen.data.files.arrays import load_arrays
from snellen.reproduction.shared.fashion_mnist import fashion_mnist

#: Classes: directions of gratings, or patterns.
CLASSES = 6

#: Height and width of a grating and of a pattern, pixels.
SIDE = 16

#: Most by which a value of the independent pixels varies around its class; :func:`_patterns` has that of blocks.
VARIATION = 0.1


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
    """Smooth textures of :data:`CLASSES` classes."""
    generator = np.random.default_rng(derive_seed(seed, "gratings", split))
    count = sizes.of(split)
    labels = np.arange(count) % CLASSES
    angle = (labels + generator.uniform(-0.3, 0.3, count)) * np.pi / CLASSES
    wavelength, phase = generator.uniform(6, 12, count), generator.uniform(0, 2 * np.pi, count)
    contrast, light = generator.uniform(0.15, 0.45, count), generator.uniform(0.45, 0.55, count)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    along = columns * np.cos(angle)[:, None, None] + rows * np.sin(angle)[:, None, None]
    waves = np.sin(2 * np.pi * along / wavelength[:, None, None] + phase[:, None, None])
    values = light[:, None, None] + contrast[:, None, None] * waves
    return _as_set(_as_bytes(values), labels, split, "gratings")


def blocks(split: Split, sizes: Sizes, seed: int) -> ImageSet:
    """Patterns of :data:`CLASSES` classes, of blocks of 2 x 2 pixels."""
    return _patterns(split, sizes, seed, "blocks", 2)


def independent_pixels(split: Split, sizes: Sizes, seed: int) -> ImageSet:
    """The same of single pixels."""
    return _patterns(split, sizes, seed, "independent pixels", 1)


def _codes(length: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Signs (:data:`CLASSES`, length): any two rows differ in exactly half of them; length is a power of 2."""
    rows = hadamard(length)[generator.permutation(length)[:CLASSES]]
    signs: NDArray[np.float64] = rows[:, generator.permutation(length)] * generator.choice((-1.0, 1.0), length)
    return signs


def _signs(side: int, block: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """A drawing of each class, (:data:`CLASSES`, side, side); two differ in as many pixels of either half."""
    if block > 1:
        return _codes(side * side, generator).reshape(CLASSES, side, side)  # every block has pixels of both halves
    even = np.indices((side, side)).sum(0) % 2 == 0
    signs = np.empty((CLASSES, side, side))
    signs[:, even], signs[:, ~even] = (_codes(side * side // 2, generator) for _ in range(2))
    return signs


def _patterns(split: Split, sizes: Sizes, seed: int, name: str, block: int) -> ImageSet:
    side, count = SIDE // block, sizes.of(split)
    signs = _signs(side, block, np.random.default_rng(derive_seed(seed, "patterns", name)))
    generator = np.random.default_rng(derive_seed(seed, name, split))
    labels = np.arange(count) % CLASSES
    contrast = generator.uniform(0.05, 0.15, count)[:, None, None]
    # A value that block² pixels share counts block times as much along any direction, in the l2 norm.
    most = VARIATION / block
    values = 0.5 + contrast * signs[labels] + generator.uniform(-most, most, (count, side, side))
    return _as_set(_as_bytes(values.repeat(block, 1).repeat(block, 2)), labels, split, name)


def _as_bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = (values.clip(0, 1) * 255).round().astype(np.uint8)
    return pixels


def _as_set(pixels: NDArray[np.uint8], labels: NDArray[np.int64], split: Split, name: str) -> ImageSet:
    names = [f"{name} {number}" for number in range(CLASSES)]
    images = load_arrays(pixels, labels, class_names=names)
    ids = pa.array([f"{name}/{split}/{number}" for number in range(len(pixels))], COLUMNS["id"])
    place = images.table.column_names.index("id")
    return replace(images, table=images.table.set_column(place, "id", ids), name=name)
