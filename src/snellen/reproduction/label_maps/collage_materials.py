"""What ReLabel is measured on: canvases for the annotator, and others that students learn from and are tested on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from snellen.core.images import ImageSet
from snellen.data.files.bundled import FASHION_CLASSES
from snellen.data.files.idx import PARTS
from snellen.reproduction.shared.collages import Collages, scene_collages, thumbnail_collages
from snellen.reproduction.shared.fashion_mnist import fashion_mnist

SIDE, OBJECTS = 40, 3

#: Canvases with one object for the annotator, and collages to train on and to test on.
SINGLE, TRAINED, TESTED = 3000, 1000, 1000

#: Labelled collages for an annotator that is to be the better judge, and collages to train on and to test on. So few
#: make a harder task: in pilots, students of 500 plain labels were right in 94 to 95 %, which leaves little to gain.
LABELLED, FEW, MORE_TESTED = 3000, 150, 2000

#: The same of thumbnails, which are harder to distinguish.
LABELLED_THUMBNAILS, SOME = 8000, 300

#: Of Fashion-MNIST, classes that do not differ by details that a collage is too small for.
THUMBNAILS = ("T-shirt/top", "Trouser", "Dress", "Sandal", "Bag", "Ankle boot")


@dataclass(frozen=True, eq=False)
class Material:
    """One kind of collages: what the annotator learns from, and what students learn from and are tested on."""

    annotated: Collages
    trained: Collages
    tested: Collages


def scenes(seed: int) -> Material:
    """Scenes of three coloured objects; the annotator sees single ones, and more of them."""
    made = partial(scene_collages, side=SIDE)
    return Material(
        made(SINGLE, objects=1, seed=3 * seed, split="val"),
        made(TRAINED, objects=OBJECTS, seed=3 * seed + 1, split="train"),
        made(TESTED, objects=OBJECTS, seed=3 * seed + 2, split="test"),
    )


def labelled_scenes(seed: int) -> Material:
    """The same world with fewer scenes to learn from; the annotator sees more labelled ones of the same kind.

    None of the annotator's scenes is one of the students', and both learn the same official labels.
    """
    made = partial(scene_collages, side=SIDE, objects=OBJECTS)
    return Material(
        made(LABELLED, seed=3 * seed, split="val"),
        made(FEW, seed=3 * seed + 1, split="train"),
        made(MORE_TESTED, seed=3 * seed + 2, split="test"),
    )


def thumbnails(seed: int) -> Material:
    """Collages of three Fashion-MNIST thumbnails, labelled ones for the annotator too, with no image in two parts.

    Raises:
        InputError: Fashion-MNIST is not installed.
    """
    fitted, tested = (_chosen(fashion_mnist(split)) for split in PARTS)
    order = np.random.default_rng(seed).permutation(len(fitted))

    def made(images: ImageSet, rows: NDArray[np.int64], count: int, part: int) -> Collages:
        pixels = np.stack([np.asarray(images.read(row).convert("L")) for row in rows.tolist()])
        return thumbnail_collages(
            pixels, _renumbered(images)[rows], THUMBNAILS, count, side=SIDE, objects=OBJECTS, seed=3 * seed + part
        )

    return Material(
        made(fitted, order[:15_000], LABELLED_THUMBNAILS, 0),
        made(fitted, order[15_000:30_000], SOME, 1),
        made(tested, np.arange(len(tested)), MORE_TESTED, 2),
    )


def _chosen(images: ImageSet) -> ImageSet:
    """The images of the classes that collages show."""
    wanted = [FASHION_CLASSES.index(name) for name in THUMBNAILS]
    return images.select(np.flatnonzero(np.isin(images.labels, wanted)))


def _renumbered(images: ImageSet) -> NDArray[np.int64]:
    """Labels as positions in :data:`THUMBNAILS`."""
    return np.array([THUMBNAILS.index(FASHION_CLASSES[label]) for label in images.labels.tolist()])
