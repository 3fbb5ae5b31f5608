"""Pictures of the scaling laws: loss against the number of images, and generated images of classes beside real ones.

The curves come from the seeds of the record, ``results/scaling_laws/``. The images are those of the small experiment;
they are generated where they are not kept yet, which takes some minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Silent
from snellen.data.class_balance import rows_by_class
from snellen.data.worlds.optotypes.small_world import SHAPES
from snellen.metrics.intervals import mean_interval
from snellen.reproduction.scaling_laws.materials import SMALL, UNKNOWN, small_material
from snellen.reproduction.seed_file import read_seeds
from snellen.reproduction.shared.documents import Pictures
from snellen.runs.curve_picture import Curve, curve_picture
from snellen.runs.picture_grid import picture_grid
from snellen.systems.scaling_laws.design import SIZES, nested_sizes

#: Curves of the record, in words.
CURVES = {
    "real": "real images",
    "plain": "generated, class names, guidance 1 (none)",
    "guided": "generated, class names, guidance 2",
    "strong": "generated, class names, guidance 4",
    "captioned": "generated, captions of real images, guidance 2",
}

#: Rows of the other picture, in words.
ROWS = {
    "plain": "generated, guidance 1 (none)",
    "guided": "generated, guidance 2",
    "usual": "generated, guidance 7.5",
    "captioned": "generated from captions, guidance 2",
}

#: Classes of the other picture.
SHOWN = (*SHAPES[:4], *UNKNOWN)

Losses = Mapping[str, Sequence[Sequence[float]]]


def curves(losses: Losses, sizes: Sequence[int]) -> Image.Image:
    """Loss against the number of images: dots for the seeds, a line through their means, and 95 % intervals of these.

    Args:
        losses: by curve, for each size the losses of all seeds.
        sizes: images, all classes together.
    """
    shown = []
    for name, label in CURVES.items():
        means = [float(np.mean(found)) for found in losses[name]]
        ends = [mean_interval(found) for found in losses[name]]
        band = [(size, max(low, 1e-3), high) for size, (low, high) in zip(sizes, ends, strict=True) if np.isfinite(low)]
        points = [(size, loss) for size, found in zip(sizes, losses[name], strict=True) for loss in found]
        shown.append(Curve(label, points, list(zip(sizes, means, strict=True)), band))
    return curve_picture(shown, "images that a student is trained on", "loss of students on real test images, nats")


def recorded_losses(root: Path) -> Losses:
    """Of the seeds that are recorded.

    Raises:
        InputError: none is.
    """
    seeds = [seed.figures for seed in read_seeds(root / "results", "scaling_laws")]
    if not seeds:
        raise InputError("no seed is recorded; run snellen reproduce scaling_laws --record")
    return {
        name: [[float(seed[f"{name}.loss_of_size_{place + 1}"]) for seed in seeds] for place in range(SIZES)]  # type: ignore[arg-type]
        for name in CURVES
    }


def classes(sets: Mapping[str, ImageSet]) -> Image.Image:
    """A column for each class, and a row for real images and for each setting; the last classes were never seen."""
    rows = []
    for label, images in sets.items():
        by_class = rows_by_class(images)
        pictures = [torch.from_numpy(np.array(images.read(by_class[name][0]))).permute(2, 0, 1) for name in SHOWN]
        rows.append((pictures, label))
    heads = [f"{name} (never seen)" if name in UNKNOWN else name for name in SHOWN]
    return picture_grid("Real and generated images of six classes", heads, rows)


def draw_curves(root: Path, target: Path) -> str:
    """Draw the curves of the record."""
    losses = recorded_losses(root)
    sizes = [count * (len(SHAPES) + len(UNKNOWN)) for count in nested_sizes(SMALL.real)]
    curves(losses, sizes).save(target, "WEBP", lossless=True)
    return f"{len(losses['real'][0])} seeds"


def draw_classes(root: Path, target: Path) -> None:
    """Draw images of the small experiment."""
    with small_material(SMALL, Silent()) as material:
        sets = {"real": material.real, **{label: material.made[name] for name, label in ROWS.items()}}
        classes(sets).save(target, "WEBP", lossless=True)


PICTURES: Pictures = {"scaling-laws-curves": draw_curves, "scaling-laws-classes": draw_classes}
