"""System 9, ReLabel: do soft labels of exactly what a crop shows make better classifiers than one label an image.

An annotator scores the training collages once, and then a student learns from random crops of them in five ways: the
official label; that label smoothed; the soft label of the whole image; the crop's likeliest class; and the crop's soft
label, which is ReLabel. Students differ in nothing else: they begin with the same weights and see the same crops in the
same order. What crops really show is known, so the targets themselves are judged too, and a sixth student learns from
the true shares.

The paper's premise is an annotator that is a better judge than its students: it learns from more labelled collages of
their kind. Canvases with a single object do not teach which of several is the official one; an annotator of these is
the weaker judge, and shows what becomes of students then.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.metrics.multilabel import SetCounts
from snellen.reproduction.label_maps.collage_materials import SIDE, Material, labelled_scenes, scenes, thumbnails
from snellen.reproduction.label_maps.scales import full, smoke
from snellen.reproduction.shared.collages import Collages
from snellen.reproduction.shared.small_networks import narrow_network
from snellen.systems.label_maps.annotating import annotate
from snellen.systems.label_maps.crop_training import (
    CropPlan,
    Targets,
    box_targets,
    cut_and_name,
    on_label_maps,
    right_crops,
)
from snellen.systems.label_maps.matched_maps import MatchedMaps, look_up
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import train
from snellen.training.objectives import Objective, classify, cross_entropy, on_scores
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import draw_boxes, random_resized_crops

#: Least share of a canvas that a student's crops show.
SMALLEST = 0.08

#: Channels of student and annotator, and least share of a canvas that its training crops show.
NARROW, WIDE, ANNOTATOR_CROPS = (16, 32, 48, 64), (24, 48, 64, 96), 0.4

ANNOTATOR_PLAN = TrainingPlan(epochs=8, batch_size=64, learning_rate=3e-3, schedule="one-cycle", warmup_steps=80)
STUDENT_PLAN = TrainingPlan(epochs=12, batch_size=64, learning_rate=3e-3, schedule="one-cycle", warmup_steps=50)

#: Show 150 and 300 collages as often as :data:`STUDENT_PLAN` shows 1,000: 12,000 crops.
FEW_PLAN, SOME_PLAN = (STUDENT_PLAN.model_copy(update={"epochs": epochs}) for epochs in (80, 40))

#: Crops of each training image by which targets are judged.
JUDGED = 5

#: Share of a uniform distribution that is mixed into targets before their divergence is taken: one-hot ones would be
#: wrong by infinitely many nats.
SMOOTHED = 0.01

SINGLE_LABEL, SMOOTHING, TRUE_SHARES = "single_label", "label_smoothing", "true_shares"
MAPPED: dict[str, Targets] = {
    "global_multi": "global_multi",
    "localized_single": "localized_single",
    "relabel": "localized_multi",
}
ARMS = (SINGLE_LABEL, SMOOTHING, *MAPPED)


def label_maps(scale: Scale, seed: int, progress: Progress) -> Mapping[str, float]:
    """Measure the claims of system 9.

    Returns:
        For each arm of labelled scenes: ``labelled_scenes.ARM.accuracy`` on the official label, ``.set_accuracy``,
        ``.target_kl`` (nats, from the true shares of the classes a crop shows to its target) and ``.target_visible``
        (share of crops whose likeliest target class is really seen). The same of thumbnails, where a student of the
        true shares has the first two alone, and of scenes whose annotator saw single objects. How often each annotator
        was right, and by how much it and the student of true shares lead the student of the single label.
    """
    if scale == "smoke":
        return smoke(seed, progress)
    if scale == "full":
        return full(seed, progress)
    figures = {
        **_measured("labelled_scenes", labelled_scenes(seed), ARMS, seed, FEW_PLAN),
        **_measured("thumbnails", thumbnails(seed), (SINGLE_LABEL, SMOOTHING, "relabel", TRUE_SHARES), seed, SOME_PLAN),
        **_measured("scenes", scenes(seed), (SINGLE_LABEL, "relabel"), seed),
    }
    for material in ("labelled_scenes", "thumbnails", "scenes"):
        for one in ("annotator", TRUE_SHARES):
            if (right := figures.get(f"{material}.{one}.accuracy")) is not None:
                figures[f"{material}.{one}.lead"] = right - figures[f"{material}.{SINGLE_LABEL}.accuracy"]
    return figures


label_maps.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("two random images for ImageNet; ResNet-50 with random weights as annotator and as student",),
    "small": (
        "collages of 40 pixels with three objects for ImageNet: coloured objects in procedural scenes (150 to train "
        "on), Fashion-MNIST thumbnails of six classes (300); the largest object is the label; 2,000 to test",
        "a small CNN that saw 3,000 other labelled scenes, or 8,000 other labelled collages of thumbnails, for "
        "EfficientNet-L2, with maps of 10 x 10 places",
        "a narrower CNN, 12,000 crops, for ResNet-50, 300 epochs; crops are the only augmentation",
        "beside these, 1,000 scenes and an annotator that saw 3,000 canvases with one object, the weaker judge",
    ),
}


def _measured(
    material: str, of: Material, arms: tuple[str, ...], seed: int, plan: TrainingPlan = STUDENT_PLAN
) -> dict[str, float]:
    annotator = _annotator(of.annotated, seed)
    figures = {f"{material}.annotator.{name}": value for name, value in _tested(annotator, of.tested).items()}
    with tempfile.TemporaryDirectory() as folder:
        matched = _matched_maps(annotator, of.trained, Path(folder) / "maps")
        figures[f"{material}.agreement"] = matched.agreement
        for arm in arms:
            student = _student(arm, matched, of.trained, seed, plan)
            found = _tested(student, of.tested)
            if arm != TRUE_SHARES:
                found |= _judged(arm, matched, of.trained, seed)
            figures |= {f"{material}.{arm}.{name}": value for name, value in found.items()}
    return figures


def _annotator(canvases: Collages, seed: int) -> Classifier:
    network = _network(len(canvases.class_names), seed, "annotator", WIDE)
    trained = train(
        network,
        _store(canvases),
        plan=ANNOTATOR_PLAN.model_copy(update={"seed": seed}),
        transform=random_resized_crops(ANNOTATOR_CROPS),
        progress=Silent(),
    )
    network.load_state_dict(dict(trained.weights))
    preparation = Preprocessing(size=(SIDE, SIDE), resize="exact", resize_to=(SIDE, SIDE))
    return Classifier(network, class_names=canvases.class_names, preparation=preparation, name="annotator")


def _matched_maps(annotator: Classifier, trained: Collages, folder: Path) -> MatchedMaps:
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


def _student(arm: str, matched: MatchedMaps, trained: Collages, seed: int, plan: TrainingPlan) -> nn.Module:
    objectives: dict[str, Objective] = {
        SINGLE_LABEL: classify,
        SMOOTHING: on_scores(partial(cross_entropy, label_smoothing=0.1)),
        TRUE_SHARES: on_true_shares(matched, trained),
        **{name: on_label_maps(matched, _plan(targets)) for name, targets in MAPPED.items()},
    }
    network = _network(len(trained.class_names), seed, "student")
    fitted = train(
        network,
        _store(trained),
        plan=plan.model_copy(update={"seed": seed}),
        objective=objectives[arm],
        transform=random_resized_crops(SMALLEST) if arm in (SINGLE_LABEL, SMOOTHING) else None,
        progress=Silent(),
    )
    network.load_state_dict(dict(fitted.weights))
    return network.eval()


def _plan(targets: Targets) -> CropPlan:
    return CropPlan(side=SIDE, smallest=SMALLEST, flips=False, targets=targets, missing="zero")


def on_true_shares(matched: MatchedMaps, trained: Collages) -> Objective:
    """What no annotator knows: the same crops with the true shares of their classes; the label where none is seen."""

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        crops = cut_and_name(batch, matched, _plan("localized_multi"))
        shares, visible = trained.shown(batch.positions, crops.boxes)
        labels = nn.functional.one_hot(batch.targets, len(trained.class_names)).float()
        return cross_entropy(model(crops.images), torch.where(visible.any(1, keepdim=True), shares, labels))

    return objective


def _judged(arm: str, matched: MatchedMaps, trained: Collages, seed: int) -> dict[str, float]:
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
        targets = box_targets(positions, labels, matched, boxes, _plan(MAPPED[arm]))
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


def _tested(classifier: Callable[[Tensor], Tensor], tested: Collages) -> dict[str, float]:
    """How often the official label is named, and how often any class that is really there."""
    named = _scores(classifier, tested).argmax(1)
    return {
        "accuracy": float((named.numpy() == tested.labels).mean()),
        "set_accuracy": SetCounts.of(named, tested.sets()).accuracy,
    }


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
