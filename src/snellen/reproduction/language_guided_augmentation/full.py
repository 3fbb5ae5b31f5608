"""The paper's experiment on a GPU: Waterbirds, ResNet-50, Grounding DINO, SAM, InstructPix2Pix, Stable Diffusion 1.4.

Everything comes by reference, from environment variables, and nothing is downloaded. For Waterbirds, estimated and not
measured: 16 GB of GPU memory; 1,000 images with two phrases each, 100 steps of InstructPix2Pix a background and its
control (10 hours); 16 tokens of 1,000 steps (3 hours); 1,600 images (1 hour); two trainings of ResNet-50 (4 hours).
Images are read from their files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.data.files.labels import align_labels
from snellen.data.files.manifest import load_manifest
from snellen.data.references import load_images
from snellen.methods.synthesis.by_name import ByName
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.language_guided_augmentation.augmenting import without_shortcuts
from snellen.systems.language_guided_augmentation.check import Shortcuts
from snellen.systems.language_guided_augmentation.personalising import TokenFit
from snellen.training.students import (
    StudentPlan,
    as_classifier,
    measured,
    mixed,
    store_of,
    store_to_measure,
    train_student,
)

#: Images with splits, groups and captions (or a captioner), a detector, the generator, a folder to write to; the rest.
NEEDED = ("DATA", "DETECTOR", "GENERATOR", "FOLDER")
OPTIONAL = ("CAPTIONER", "LANGUAGE", "SYNONYMS", "SEGMENTER", "INSTRUCTOR", "INPAINTER")

#: The published training: SGD of 1e-3, batches of 128, 100 epochs, weight decay 1e-3, 224 pixels.
PUBLISHED = StudentPlan(
    architecture="timm:resnet50", side=224, schedule="epochs", amount=100, batch_size=128, learning_rate=1e-3,
    weight_decay=1e-3, optimizer="sgd", course="constant", crops=True,
)  # fmt: skip


def named(name: str) -> str | None:
    """What an environment variable says."""
    return os.environ.get(f"SNELLEN_SHORTCUTS_{name}") or None


def full(
    seed: int,
    progress: Progress,
    *,
    students: StudentPlan = PUBLISHED,
    check: Mapping[str, object] | None = None,
    fit: TokenFit | None = None,
    steps: int = 50,
    count: int = 100,
) -> Mapping[str, Figure]:
    """ERM with and without generated images, on the test images: the worst group, and all.

    Args:
        seed: of everything random.
        progress: callback that receives progress updates.
        students: the recipe.
        check: further settings of the check.
        fit: numbers of the tokens; the published ones by default.
        steps: of the sampler.
        count: generated images of each class and trial.

    Raises:
        InputError: a variable is not set, or the images have no test split.
    """
    absent = [f"SNELLEN_SHORTCUTS_{name}" for name in NEEDED if named(name) is None]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}: images with the splits train and test, captions and "
            f"groups, hf:FOLDER of a detector, diffusers:FOLDER of Stable Diffusion 1.4, and a folder to write to; "
            f"optional are SNELLEN_SHORTCUTS_{', '.join(OPTIONAL)}"
        )
    images, folder = load_images(str(named("DATA"))), Path(str(named("FOLDER"))) / f"seed-{seed}"
    splits = [one or "train" for one in images.column("split")]
    train, test = (
        images.select([row for row, own in enumerate(splits) if own == split]) for split in ("train", "test")
    )
    if not len(test):
        raise InputError(f"{images.name} has no images of the split 'test' to measure on")
    names, device = train.class_names or (), "cuda" if torch.cuda.is_available() else "cpu"
    real = store_of(train, students)
    erm = train_student(real, students, len(names), seed)
    parts = {name.lower(): named(name) for name in ("DETECTOR", *OPTIONAL)}
    made = without_shortcuts(
        as_classifier(erm, students, names, "erm"), train, out=folder / "made", count=count, seed=seed, device=device,
        method=ByName(generator=str(named("GENERATOR")), steps=steps),
        check=Shortcuts.model_validate({**parts, **(check or {})}), fit=fit, progress=progress,
    )  # fmt: skip
    extra = store_of(align_labels(load_manifest(made.manifest), names), students)
    both = train_student(mixed(real, extra, None), students, len(names), seed)
    tested = store_to_measure(test, students)
    figures: dict[str, Figure] = {}
    for name, network in (("erm", erm), ("generated", both)):
        figures |= _judged(name, measured(network, tested).right, test)
    return figures


def _judged(name: str, right: np.ndarray, test: ImageSet) -> dict[str, Figure]:
    groups = list(zip(test.labels.tolist(), test.column("group"), strict=True))
    by_group = [float(right[[own == group for own in groups]].mean()) for group in sorted(set(groups), key=str)]
    return {f"{name}.worst": min(by_group), f"{name}.mean": float(np.mean(by_group)), f"{name}.right": Sample.of(right)}
