"""System 9 at its other scales: all stages in the shapes of ImageNet, and ImageNet itself with the published maps."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.folder import load_folder
from snellen.data.files.labels import numbered_class_names
from snellen.data.files.splits import as_split
from snellen.methods.recipes.supervised import Supervised
from snellen.models.classifiers.artifact_models import untrained
from snellen.models.classifiers.references import load_classifier
from snellen.systems.label_maps.annotating import annotate
from snellen.systems.label_maps.method import PAPER_PLAN, LabelMapsRecipe
from snellen.systems.label_maps.published import import_published
from snellen.training.acceleration import seeded
from snellen.training.fitting.recipe import ClassifierRecipe
from snellen.training.plan import TrainingPlan

IMAGENET_VARIABLE, MAPS_VARIABLE = "SNELLEN_IMAGENET", "SNELLEN_RELABEL_MAPS"

SPLITS: tuple[tuple[str, Split], ...] = (("train", "train"), ("val", "test"))

CLASSES = 1000
SMOKE_PLAN = TrainingPlan(epochs=2, batch_size=2, learning_rate=1e-3)


def smoke(seed: int, progress: Progress) -> Mapping[str, float]:
    """Two random images of 1000 classes; ResNet-50 with random weights annotates and learns, also with CutMix."""
    names = numbered_class_names(CLASSES)
    pixels = np.random.default_rng(seed).integers(0, 256, (2, 250, 300, 3), dtype=np.uint8)
    images = as_split(load_arrays(pixels, np.array([1, 998]), class_names=names), "train")
    with seeded(seed, torch.device("cpu")):
        network = untrained({"name": "timm", "model": "resnet50", "class_count": CLASSES})
    squeezed = Preprocessing(size=(224, 224), resize="exact", resize_to=(224, 224))
    annotator = Classifier(network, class_names=names, preparation=squeezed, name="resnet50")
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        maps = annotate(images, annotator, Path(folder) / "maps")
        asked = annotator.spent.queries
        for arm, probability in (("relabel", 0.0), ("relabel_cutmix", 1.0)):
            recipe = LabelMapsRecipe(
                maps=maps.folder,
                architecture="timm:resnet50",
                plan=SMOKE_PLAN,
                cutmix_probability=probability,
                plain_epochs=0,
                least_agreement=0.0,
            )
            made = recipe.fit(images, rng=Randomness(seed), progress=progress)
            figures[f"{arm}.loss"] = made.card.history[-1]["train.loss"]
        figures["annotator.images"] = float(asked)
        figures["annotator.images_in_training"] = float(annotator.spent.queries - asked)
        figures["bytes_ratio"] = 4.0 * CLASSES * maps.record.height * maps.record.width / maps.rows.dtype.itemsize
    return figures


def full(seed: int, progress: Progress) -> Mapping[str, float]:
    """ImageNet with the published maps: ResNet-50 on labels, on maps, and on maps with CutMix, 300 epochs each.

    The images to train on are kept in memory as squeezed frames of 256 pixels: about 250 GB.
    """
    data, archive = (os.environ.get(name) for name in (IMAGENET_VARIABLE, MAPS_VARIABLE))
    if not data or not archive:
        raise InputError(
            f"the full experiment reads ImageNet and the published label maps: set {IMAGENET_VARIABLE} to the folder "
            f"that holds train and val, and {MAPS_VARIABLE} to that of the maps"
        )
    # Folders sorted by name are in the order of the published indices.
    images, tested = (replace(load_folder(Path(data) / part), split=split) for part, split in SPLITS)
    with tempfile.TemporaryDirectory() as folder:
        maps = import_published(images, Path(archive), Path(folder) / "maps", progress=progress)
        arms: dict[str, ClassifierRecipe] = {
            "single_label": Supervised(architecture="timm:resnet50", smallest_crop=0.08, flips=True, plan=PAPER_PLAN),
            "relabel": LabelMapsRecipe(maps=maps.folder, architecture="timm:resnet50", flips=True, plan=PAPER_PLAN),
            "relabel_cutmix": LabelMapsRecipe(
                maps=maps.folder, architecture="timm:resnet50", flips=True, plan=PAPER_PLAN, cutmix_probability=1.0
            ),
        }
        return {
            f"{arm}.accuracy": _accuracy(recipe.fit(images, rng=Randomness(seed), progress=progress), tested)
            for arm, recipe in arms.items()
        }


def _accuracy(artifact: Artifact, tested: ImageSet, at_once: int = 128) -> float:
    with tempfile.TemporaryDirectory() as folder:
        artifact.save(Path(folder))
        classifier = load_classifier(f"artifact:{folder}")
    right = 0
    with torch.no_grad():
        for start in range(0, len(tested), at_once):
            rows = range(start, min(start + at_once, len(tested)))
            scores = classifier(torch.stack([classifier.prepare(tested.read(row)) for row in rows]))
            right += int((scores.argmax(1).numpy() == tested.labels[rows.start : rows.stop]).sum())
    return right / len(tested)
