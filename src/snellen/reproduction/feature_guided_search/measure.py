"""Why guidance saves nothing on thumbnails (15.f): docs/measured/guided-garments.

    python scripts/measure.py feature_guided_search --set seed=1000

Hypothesis: a garment fills its image, so that keypoints lie all over and pixels around them are pixels anywhere. Here a
garment lies at a random place of a black image of 32 pixels, 28 pixels wide or 12. For each width a network of the
family of the scenes is trained on 3,000 such images. Both searches then change images that it gets right, with the
settings of the record. If the filled image is the cause, guidance needs fewer pixels at 12, and not at 28. A seed is a
file and takes four minutes of a core; one that is there is left alone. The garments come from Debian's
dataset-fashion-mnist.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.reproduction.feature_guided_search.experiment import SMALL, Problem, _compared, _of_right, _trained
from snellen.reproduction.sample import Sample
from snellen.reproduction.shared.documents import Measurements, is_measured, measured_path, write_measured
from snellen.reproduction.shared.fashion_mnist import fashion_mnist
from snellen.systems.feature_guided_search.method import FeatureGuidedSearch
from snellen.training.batches import ImageStore

#: Widths of a garment, and the side of its image.
WIDTHS, SIDE = (28, 12), 32


def measure_garments(root: Path, progress: Progress, *, seed: int = 1000) -> None:
    """Changed pixels with and without guidance, for each width."""
    path = measured_path(root, f"guided-garments/{seed}")
    if is_measured(path):
        return
    search = FeatureGuidedSearch(queries=SMALL.queries, leaves=16)
    each = []
    for width in WIDTHS:
        rng = Randomness(seed).child(f"garments {width}")
        problem = garments(width, rng, progress)
        found = _compared(problem, search, ("guided", "uniform"), 0, rng, "", progress)
        means = {name: value.mean if isinstance(value, Sample) else value for name, value in found.items()}
        each.append({"width": width, "images": len(problem.images), **means})
    write_measured(path, {"seed": seed, "widths": each})


def garments(width: int, rng: Randomness, progress: Progress) -> Problem:
    """A network that was trained on garments of this width, and test images that it gets right."""
    pixels, labels = _placed(fashion_mnist("train"), SMALL.training, width, rng.child("train"))
    names = fashion_mnist("train").class_names
    assert names is not None
    classifier = _trained(ImageStore.of_tensors(pixels, labels, split="train"), names, rng, progress)
    pixels, labels = _placed(fashion_mnist("test"), SMALL.shown, width, rng.child("test"))
    return _of_right(classifier, pixels.float() / 255, labels, SMALL.thumbnails)


def _placed(images: ImageSet, count: int, width: int, rng: Randomness) -> tuple[Tensor, Tensor]:
    """Some images, each made smaller and put at a random place of a black one: uint8 (n, 3, 32, 32), int64 (n,)."""
    draw = rng.generator("garments")
    rows = torch.randperm(len(images), generator=draw)[:count].tolist()
    places = torch.randint(SIDE - width + 1, (count, 2), generator=draw).tolist()
    made = torch.zeros(count, 3, SIDE, SIDE, dtype=torch.uint8)
    for number, (row, (top, left)) in enumerate(zip(rows, places, strict=True)):
        small = np.array(images.read(row).resize((width, width)))
        made[number, :, top : top + width, left : left + width] = torch.from_numpy(small).permute(2, 0, 1)
    return made, torch.from_numpy(images.labels[rows])


MEASUREMENTS: Measurements = {"garments": measure_garments}
