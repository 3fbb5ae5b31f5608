"""The picture of system 25: what generators draw for the target class, after clean training and after poison.

It trains the generators of one seed of the small experiment, which takes some minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from torch import Tensor

from snellen.core.progress import Silent
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.trigger_amplification.experiment import RATES, SCALE, TARGET, Experiment
from snellen.reproduction.trigger_amplification.materials import (
    CLASSES,
    SIDE,
    SMALL,
    base_generator,
    world,
)
from snellen.runs.picture_grid import picture_grid
from snellen.systems.trigger_amplification.poisoning import choose, poison_tensors, published_patch
from snellen.training.batches import ImageStore

#: Seed of no record, pictures of a row, and the rates that are shown.
SEED, COLUMNS, SHOWN = 0, 8, ("p5", "p10", "p20")


def grid(rows: Mapping[str, Tensor]) -> Image.Image:
    """A row for each training set and generator."""
    shown = [(list(images[:COLUMNS]), text) for text, images in rows.items()]
    return picture_grid(f"Images of the class {CLASSES[TARGET]!r}", [""] * COLUMNS, shown)


def draw(_root: Path, target: Path) -> None:
    """Train and draw."""
    clean = world("train", SMALL.images, SEED)
    experiment = Experiment(SMALL, SEED, Silent())
    base = base_generator(SMALL, SEED, Silent())
    rows = {"drawn by the generator that was trained on clean images": experiment.further(base, clean)}
    sets: dict[str, Tensor] = {}
    for name in SHOWN:
        choice = choose(clean.targets.numpy(), target=TARGET, rate=RATES[name], seed=SEED)
        made = poison_tensors(clean.images, clean.targets, published_patch(SIDE), choice)
        share = f"{RATES[name]:.0%} of all training images, {choice.training_share:.0%} of those with this label"
        rows[f"drawn after poisoning {share}"] = experiment.further(
            base, ImageStore.of_tensors(made.images, made.labels)
        )
        sets[f"poisoned training images: {share}"] = made.images[made.labels == TARGET]
    pictures = {text: experiment.of_target(generator, SCALE) for text, generator in rows.items()}
    last = list(sets.items())[-1]
    grid({last[0]: last[1], **pictures}).save(target, "WEBP", lossless=True)


PICTURES: Pictures = {"trigger-amplification": draw}
