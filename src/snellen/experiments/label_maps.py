"""System 9, ReLabel: do soft labels of exactly what a crop shows make better classifiers than one label an image.

An annotator learns from canvases with a single object, looks at the training collages once, and then a student learns
from random crops of them in five ways: the official label; that label smoothed; the soft label of the whole image; the
crop's likeliest class; and the crop's soft label, which is ReLabel. Students differ in nothing else: they begin with
the same weights and see the same crops in the same order. What crops really show is known, so the targets themselves
are judged too.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snellen.classifier import Classifier
from snellen.data.bundled import FASHION_CLASSES
from snellen.data.idx import PARTS, load_idx
from snellen.errors import InputError
from snellen.experiments.collages import Collages, scene_collages, thumbnail_collages
from snellen.experiments.label_map_scales import full, smoke
from snellen.experiments.medmnist_c import FASHION_MNIST, FASHION_MNIST_VARIABLE
from snellen.experiments.small_networks import narrow_network
from snellen.images import ImageSet
from snellen.label_maps.annotating import annotate
from snellen.label_maps.crop_training import CropPlan, Targets, box_targets, on_label_maps, right_crops
from snellen.label_maps.looked_up import LookedUp, look_up
from snellen.metrics.label_sets import SetCounts
from snellen.preparation import Preparation, to_unit
from snellen.progress import Progress, Silent
from snellen.randomness import Randomness
from snellen.system import Scale
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.crops import draw_boxes, random_resized_crops
from snellen.training.loop import train
from snellen.training.objectives import Objective, classify, cross_entropy, on_scores
from snellen.training.plan import TrainingPlan

SIDE, OBJECTS, SMALLEST = 40, 3, 0.08

#: Canvases with one object for the annotator, and collages to train on and to test on.
SINGLE, TRAINED, TESTED = 3000, 1000, 1000

#: Of Fashion-MNIST, classes that are not told apart by details that a collage is too small for.
THUMBNAILS = ("T-shirt/top", "Trouser", "Dress", "Sandal", "Bag", "Ankle boot")

#: Channels of student and annotator, and least share of a canvas that its training crops show.
NARROW, WIDE, ANNOTATOR_CROPS = (16, 32, 48, 64), (24, 48, 64, 96), 0.4

ANNOTATOR_PLAN = TrainingPlan(epochs=8, batch_size=64, learning_rate=3e-3, schedule="one-cycle", warmup_steps=80)
STUDENT_PLAN = TrainingPlan(epochs=12, batch_size=64, learning_rate=3e-3, schedule="one-cycle", warmup_steps=50)

#: Crops of each training image by which targets are judged.
JUDGED = 5

#: Share of a uniform distribution that is mixed into targets before their divergence is taken: one-hot ones would be
#: wrong by infinitely many nats.
SMOOTHED = 0.01

SINGLE_LABEL, SMOOTHING = "single_label", "label_smoothing"
MAPPED: dict[str, Targets] = {
    "global_multi": "global_multi",
    "localized_single": "localized_single",
    "relabel": "localized_multi",
}
ARMS = (SINGLE_LABEL, SMOOTHING, *MAPPED)


@dataclass(frozen=True, eq=False)
class Material:
    """One kind of collages."""

    single: Collages
    trained: Collages
    tested: Collages


def label_maps(scale: Scale, seed: int, progress: Progress) -> Mapping[str, float]:
    """Measure the claims of system 9.

    Returns:
        For each arm of the scenes: ``scenes.ARM.accuracy`` on the official label, ``scenes.ARM.set_accuracy``,
        ``scenes.ARM.target_kl`` (nats, from the true shares of the classes a crop shows to its target),
        ``scenes.ARM.target_visible`` (share of crops whose likeliest target class is really seen); the same of
        thumbnails for the arms single_label and relabel; ratios of the divergences; how often the annotator was asked,
        and bytes of the maps.
    """
    if scale == "smoke":
        return smoke(seed, progress)
    if scale == "full":
        return full(seed, progress)
    figures = {
        **_measured("scenes", _scenes(seed), ARMS, seed),
        **_measured("thumbnails", _thumbnails(seed), (SINGLE_LABEL, "relabel"), seed),
    }
    for material in ("scenes", "thumbnails"):
        before, after = figures[f"{material}.single_label.target_kl"], figures[f"{material}.relabel.target_kl"]
        figures[f"{material}.target_kl_ratio"] = after / before
    return figures


label_maps.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("two random images for ImageNet; ResNet-50 with random weights as annotator and as student",),
    "small": (
        "collages of 40 pixels with three objects for ImageNet: coloured objects in procedural scenes, Fashion-MNIST "
        "thumbnails of six classes; the largest object is the label; 1,000 to train on, 1,000 to test",
        "a small CNN that saw 3,000 canvases with one object for EfficientNet-L2, with maps of 10 x 10 places",
        "a narrower CNN, 12 epochs, for ResNet-50, 300 epochs; crops are the only augmentation",
    ),
}


def _measured(material: str, of: Material, arms: tuple[str, ...], seed: int) -> dict[str, float]:
    annotator = _annotator(of.single, seed)
    figures = {f"{material}.annotator.set_accuracy": _set_accuracy(annotator, of.tested)}
    before = annotator.spent.queries
    with tempfile.TemporaryDirectory() as folder:
        looked_up = _looked_up(annotator, of.trained, Path(folder) / "maps")
        asked = annotator.spent.queries
        figures[f"{material}.annotator.images"] = float(asked - before)
        figures[f"{material}.agreement"] = looked_up.agreement
        for arm in arms:
            figures |= {
                f"{material}.{arm}.{name}": value for name, value in _judged(arm, looked_up, of.trained, seed).items()
            }
            student = _student(arm, looked_up, of.trained, seed)
            scores = _scores(student, of.tested)
            right = scores.argmax(1).numpy() == of.tested.labels
            figures[f"{material}.{arm}.accuracy"] = float(right.mean())
            figures[f"{material}.{arm}.set_accuracy"] = SetCounts.of(scores.argmax(1), of.tested.sets()).accuracy
        figures[f"{material}.annotator.images_in_training"] = float(annotator.spent.queries - asked)
    return figures


def _annotator(single: Collages, seed: int) -> Classifier:
    network = _network(len(single.class_names), seed, "annotator", WIDE)
    trained = train(
        network,
        _store(single),
        plan=ANNOTATOR_PLAN.model_copy(update={"seed": seed}),
        transform=random_resized_crops(ANNOTATOR_CROPS),
        progress=Silent(),
    )
    network.load_state_dict(dict(trained.weights))
    preparation = Preparation(size=(SIDE, SIDE), resize="exact", resize_to=(SIDE, SIDE))
    return Classifier(network, class_names=single.class_names, preparation=preparation, name="annotator")


def _looked_up(annotator: Classifier, trained: Collages, folder: Path) -> LookedUp:
    images = trained.images("collages", "train")
    maps = annotate(images, annotator, folder, batch_size=100)
    return look_up(
        maps,
        images.ids,
        class_names=trained.class_names,
        labels=torch.from_numpy(trained.labels),
        sizes=dict.fromkeys(images.ids, (SIDE, SIDE)),
        contents={one: images.content_hash(row) for row, one in enumerate(images.ids)},
    )


def _student(arm: str, looked_up: LookedUp, trained: Collages, seed: int) -> nn.Module:
    objectives: dict[str, Objective] = {
        SINGLE_LABEL: classify,
        SMOOTHING: on_scores(partial(cross_entropy, label_smoothing=0.1)),
    }
    mapped = arm in MAPPED
    network = _network(len(trained.class_names), seed, "student")
    fitted = train(
        network,
        _store(trained),
        plan=STUDENT_PLAN.model_copy(update={"seed": seed}),
        objective=on_label_maps(looked_up, _plan(MAPPED[arm])) if mapped else objectives[arm],
        transform=None if mapped else random_resized_crops(SMALLEST),
        progress=Silent(),
    )
    network.load_state_dict(dict(fitted.weights))
    return network.eval()


def _plan(targets: Targets) -> CropPlan:
    return CropPlan(side=SIDE, smallest=SMALLEST, flips=False, targets=targets, missing="zero")


def _judged(arm: str, looked_up: LookedUp, trained: Collages, seed: int) -> dict[str, float]:
    """How well the targets of random crops say what these crops show; crops that show nothing are left out."""
    positions = torch.arange(len(trained.labels)).repeat(JUDGED)
    rng = (
        Randomness(seed)
        .child("judged")
        .for_examples([f"{row}/{place}" for place, row in enumerate(positions.tolist())])
    )
    boxes = draw_boxes(rng, smallest=SMALLEST)
    shares, visible = trained.shown(positions, boxes)
    labels = torch.from_numpy(trained.labels)[positions]
    if arm in MAPPED:
        targets = box_targets(positions, labels, looked_up, boxes, _plan(MAPPED[arm]))
    else:
        targets = nn.functional.one_hot(labels, len(trained.class_names)).float()
        if arm == SMOOTHING:
            targets = 0.9 * targets + 0.1 / len(trained.class_names)
    some = visible.any(1)
    return {
        "target_kl": float(divergence(shares[some], targets[some]).mean()),
        "target_visible": float(right_crops(targets[some], visible[some]).double().mean()),
    }


def divergence(truth: Tensor, targets: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the truth to targets with a hundredth of the uniform distribution: nats (n,).

    >>> divergence(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])).round(decimals=2)
    tensor([5.3000])
    """
    mixed = (1 - SMOOTHED) * targets + SMOOTHED / targets.shape[1]
    return (torch.xlogy(truth, truth) - truth * mixed.log()).sum(1)


def _set_accuracy(classifier: Callable[[Tensor], Tensor], tested: Collages) -> float:
    return SetCounts.of(_scores(classifier, tested).argmax(1), tested.sets()).accuracy


@torch.no_grad()
def _scores(classifier: Callable[[Tensor], Tensor], tested: Collages) -> Tensor:
    pixels = torch.from_numpy(tested.pixels).permute(0, 3, 1, 2)
    return torch.cat([classifier(to_unit(part)) for part in pixels.split(250)])


def _store(collages: Collages) -> ImageStore:
    pixels = torch.from_numpy(collages.pixels).permute(0, 3, 1, 2).contiguous()
    return ImageStore.of_tensors(pixels, torch.from_numpy(collages.labels), split="train")


def _network(class_count: int, seed: int, role: str, widths: tuple[int, int, int, int] = NARROW) -> nn.Module:
    with seeded(Randomness(seed).generator(role).initial_seed(), torch.device("cpu")):
        return narrow_network(class_count, widths=widths)


def _scenes(seed: int) -> Material:
    made = partial(scene_collages, side=SIDE)
    return Material(
        made(SINGLE, objects=1, seed=3 * seed, split="tune"),
        made(TRAINED, objects=OBJECTS, seed=3 * seed + 1, split="train"),
        made(TESTED, objects=OBJECTS, seed=3 * seed + 2, split="test"),
    )


def _thumbnails(seed: int) -> Material:
    folder = Path(os.environ.get(FASHION_MNIST_VARIABLE, FASHION_MNIST))
    if not folder.is_dir():
        raise InputError(
            f"the small experiment reads Fashion-MNIST from {folder}, which is not there; on Debian and Ubuntu: "
            f"apt install dataset-fashion-mnist. Elsewhere set {FASHION_MNIST_VARIABLE} to the folder of its files"
        )
    fitted, tested = (_chosen(load_idx(folder, split=split, class_names=FASHION_CLASSES)) for split in PARTS)
    order = np.random.default_rng(seed).permutation(len(fitted))

    def made(images: ImageSet, rows: NDArray[np.int64], count: int, objects: int, part: int) -> Collages:
        pixels = np.stack([np.asarray(images.read(row).convert("L")) for row in rows.tolist()])
        return thumbnail_collages(
            pixels, _renumbered(images)[rows], THUMBNAILS, count, side=SIDE, objects=objects, seed=3 * seed + part
        )

    return Material(
        made(fitted, order[:15_000], SINGLE, 1, 0),
        made(fitted, order[15_000:30_000], TRAINED, OBJECTS, 1),
        made(tested, np.arange(len(tested)), TESTED, OBJECTS, 2),
    )


def _chosen(images: ImageSet) -> ImageSet:
    """The images of the classes that collages show."""
    wanted = [FASHION_CLASSES.index(name) for name in THUMBNAILS]
    return images.select(np.flatnonzero(np.isin(images.labels, wanted)))


def _renumbered(images: ImageSet) -> NDArray[np.int64]:
    """Labels as positions in :data:`THUMBNAILS`."""
    return np.array([THUMBNAILS.index(FASHION_CLASSES[label]) for label in images.labels.tolist()])
