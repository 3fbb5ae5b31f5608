"""The paper's experiment on a GPU: a ResNet-50 on views of 1,000 objects, attacked on objects that nobody trained on.

Objects come by reference, as sets of views whose renderer is known (``meshes:FOLDER``), and nothing is downloaded.
Views of test objects are rendered, judged and forgotten batch by batch. Natural views of the training are held as bytes
for speed: 150 KB each, 13.5 GB for the published 90,000. Estimated from numbers of calls and not measured: a first
search of 900 objects takes 5.2 million renderings, each later epoch 1 million; the paper's 400 hours of a GPU for one
way are the right order. A way that is finished is not trained again, and refused where another training made it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.data.loading import prepared_batches
from snellen.data.references import load_images
from snellen.data.worlds.solids.solid_set import ViewpointRange, draw_viewpoints
from snellen.data.worlds.view_set import ViewedObjects, is_view_set, view_set, viewed_objects
from snellen.methods.recipes.supervised import Supervised
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.finished_training import FinishedTrainings
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.viewpoints.judging import attack_figures
from snellen.reproduction.viewpoints.ways import WAYS, recipe_of
from snellen.systems.viewpoints.method import ViewpointAttack

TRAIN, TEST, FOLDER = (f"SNELLEN_VIEWPOINTS_{name}" for name in ("TRAIN", "TEST", "FOLDER"))

#: Optional: an artifact of a classifier of the classes, and where classifiers are judged.
BASE, DEVICE = "SNELLEN_VIEWPOINTS_BASE", "SNELLEN_VIEWPOINTS_DEVICE"

#: Views that are judged together.
_TOGETHER = 32


@dataclass(frozen=True)
class FullSize:
    """How much is trained and judged; the published numbers.

    Args:
        architecture: of the classifier, where no base is given.
        side: of the images, pixels.
        plan: of every training.
        added: renderings added to a batch.
        search: numbers of the searches inside the training.
        attack: numbers of the attack that judges.
        test_views: natural, and as many random, views of a test object.
    """

    architecture: str = "timm:resnet50"
    side: int = 224
    plan: Mapping[str, Any] = field(
        default_factory=lambda: {
            "epochs": 120, "batch_size": 512, "optimizer": "sgd", "learning_rate": 0.001, "momentum": 0.9,
            "weight_decay": 2e-4,
        }
    )  # fmt: skip
    added: int = 16
    search: Mapping[str, Any] = field(
        default_factory=lambda: {
            "components": 15, "popsize": 101, "iterations": 50, "warm_iterations": 10, "entropy_weight": 0.05,
        }
    )  # fmt: skip
    attack: ViewpointAttack = field(
        default_factory=lambda: ViewpointAttack(components=15, popsize=101, iterations=50, samples=100)
    )
    test_views: int = 100


FULL = FullSize()


def full(seed: int, progress: Progress, *, size: FullSize = FULL) -> Mapping[str, Figure]:
    """``WAY.FIGURE`` of the classifier of natural views and of every way, as in the small experiment.

    Args:
        seed: of weights, order, searches and cameras.
        progress: callback that receives progress updates.
        size: how much is trained and judged.

    Raises:
        InputError: a variable is not set; images whose objects cannot be rendered; other classes; an object in both
            sets; a base that is no classifier of the classes; a folder that holds another training.
    """
    absent = [name for name in (TRAIN, TEST, FOLDER) if not os.environ.get(name)]
    if absent:
        raise InputError(
            f"the full experiment needs {', '.join(absent)}. {TRAIN} and {TEST} are sets of views of different objects "
            f"of the same classes, such as meshes:FOLDER?views=100. Published are 900 and 100 objects of 100 classes. "
            f"{FOLDER} is a folder for trainings; {BASE} may name that of a trained classifier"
        )
    device = os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    train, test = load_images(os.environ[TRAIN]), load_images(os.environ[TEST])
    held = _checked(train, test)
    rng, folder = Randomness(seed), Path(os.environ[FOLDER]) / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Figure] = {}

    def judged(way: str, made: Path, attacks: Mapping[str, ViewpointAttack]) -> None:
        classifier = load_classifier(f"artifact:{made}", device=device)
        found = clean_figures(classifier, held, test.class_names or (), size.test_views, seed)
        figures.update({f"{way}.{name}": value for name, value in found.items()})
        for name, attack in attacks.items():
            own = attack_figures(
                attack.attack_views(
                    classifier, held.renderer, [one.object_id for one in held.objects],
                    torch.tensor([one.label for one in held.objects]), rng=rng.child("attack"), progress=progress,
                )
            )  # fmt: skip
            figures.update({f"{way}.{name}{key}": value for key, value in own.items()})

    many = size.attack.popsize + size.attack.components - 1
    controls: dict[str, dict[str, Any]] = {
        "single.": {"components": 1, "popsize": many},
        "narrow.": {"entropy_weight": 0.0},
    }
    attacks = {
        "": size.attack,
        **{name: ViewpointAttack(**{**size.attack.model_dump(), **other}) for name, other in controls.items()},
    }
    finished = FinishedTrainings(train)
    first = _standard(train, folder, size, rng, finished, progress)
    judged("standard", first, attacks)
    for way in WAYS:
        made, base = folder / way, Artifact.load(first)
        recipe = recipe_of(way, size.search, {"added_views": size.added, "plan": dict(size.plan)})
        if made.is_dir():
            finished.check(made, recipe, base=base, rng=rng.child("further"))
        else:
            fitted = recipe.fit(
                train, base=base, rng=rng.child("further"), checkpoint=folder / f"{way}.safetensors", progress=progress
            )
            fitted.save(made)
        judged(way, made, {"": size.attack})
        told = Artifact.load(made).card.lineage.recipe
        if way == "viat":
            figures |= {"renders.added": float(told["views_added"]), "renders.searched": float(told["views_searched"])}
    return figures


def clean_figures(
    classifier: Classifier, held: ViewedObjects, class_names: Sequence[str], count: int, seed: int
) -> dict[str, Figure]:
    """Right decisions on natural and on random views, rendered batch by batch: ``natural`` and ``random``."""
    ranges: dict[str, ViewpointRange] = {"natural": "natural", "random": "any"}
    figures: dict[str, Figure] = {}
    for name, within in ranges.items():
        viewpoints = {
            one.object_id: draw_viewpoints(
                [derive_seed(seed, within, one.object_id, number) for number in range(count)], within
            )
            for one in held.objects
        }
        images = view_set(held.renderer, viewpoints, class_names=class_names, split="test", seed=seed)
        right = list[bool]()
        for batch in prepared_batches(images, classifier.preparation, _TOGETHER):
            if not batch.ids:
                continue
            with torch.no_grad():
                said = classifier(to_unit(batch.pixels).to(classifier.device)).argmax(1).cpu()
            right += (said == torch.from_numpy(images.labels[batch.indices])).tolist()
        figures[name] = Sample.of(right)
    return figures


def _checked(train: ImageSet, test: ImageSet) -> ViewedObjects:
    """The test objects, once both sets are known to fit."""
    for name, images in ((TRAIN, train), (TEST, test)):
        if not is_view_set(images):
            raise InputError(f"{name}: {images.name} is no set of views, so its objects cannot be rendered anew")
    if train.class_names != test.class_names:
        raise InputError(f"{TRAIN} and {TEST} have different classes, or not in one order")
    seen, held = viewed_objects(train), viewed_objects(test)
    known = {seen.renderer.content_hash(one.object_id): one.object_id for one in seen.objects}
    shared = next((one.object_id for one in held.objects if held.renderer.content_hash(one.object_id) in known), None)
    if shared is not None:
        raise InputError(f"{shared} is among the objects of {TRAIN} and of {TEST}; judge other objects")
    return held


def _standard(
    train: ImageSet, folder: Path, size: FullSize, rng: Randomness, finished: FinishedTrainings, progress: Progress
) -> Path:
    """The classifier of natural views that every way continues from."""
    if os.environ.get(BASE):
        base = Artifact.load(Path(os.environ[BASE]))
        if base.card.kind != "classifier" or base.card.class_names != train.class_names:
            raise InputError(f"{BASE}: {base.card.name!r} is no classifier of the classes of {train.name}")
        return Path(os.environ[BASE])
    made = folder / "standard"
    recipe = Supervised(architecture=size.architecture, side=size.side, plan=dict(size.plan))
    if made.is_dir():
        finished.check(made, recipe, base=None, rng=rng.child("standard"))
    else:
        fitted = recipe.fit(
            train, rng=rng.child("standard"), checkpoint=folder / "standard.safetensors", progress=progress
        )
        fitted.save(made)
    return made
