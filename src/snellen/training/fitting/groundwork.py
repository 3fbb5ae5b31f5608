"""What stands before a classifier is trained, and what is written down afterwards: shared by every recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.artifact import Artifact, Card, rounded
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.metrics.auroc import multilabel_auroc
from snellen.models.classifiers.artifact_models import architecture_of, untrained
from snellen.models.weights.state_dict_file import load_strictly
from snellen.training.acceleration import seeded
from snellen.training.batches import Examples, ImageStore
from snellen.training.evaluation import score_examples
from snellen.training.fitting.frame import Fitting
from snellen.training.loop import Trained
from snellen.training.objectives import label_cross_entropy
from snellen.training.plan import TrainingPlan


@dataclass(frozen=True, eq=False)
class Groundwork:
    """Everything a training of a classifier starts from.

    Args:
        fitting: the call of ``fit`` that it was laid for.
        class_names: k of them, in the order of the scores.
        several: whether an image has several labels; targets are then a table (n, k) of 0 and 1.
        architecture: the record of it in a card.
        preparation: from a decoded image to what the finished classifier takes.
        normalization: as a card records it.
        network: initial weights, on the CPU.
        examples: the train split, in memory.
        val: chooses the epoch; None without a validation split.
        plan: of the training, with a seed of the fitting.
    """

    fitting: Fitting
    class_names: tuple[str, ...]
    several: bool
    architecture: dict[str, Any]
    preparation: Preprocessing
    normalization: dict[str, Any]
    network: nn.Module
    examples: ImageStore
    val: ImageStore | None
    plan: TrainingPlan

    def artifact(
        self,
        trained: Trained,
        *,
        name: str,
        recipe: Mapping[str, Any],
        weights: Mapping[str, Tensor] | None = None,
    ) -> Artifact:
        """The classifier with its card.

        Args:
            trained: what the loop gave.
            name: of the artifact.
            recipe: what made this, as ``Method.record()`` gives it.
            weights: state dict of ``architecture``, where the loop trained more than the classifier.
        """
        best = next(row for row in trained.history if row["epoch"] == trained.best_epoch)
        card = Card(
            name=name,
            kind="classifier",
            architecture=self.architecture,
            class_names=self.class_names,
            task="multilabel" if self.several else "single",
            preparation=self.preparation.model_dump(mode="json"),
            normalization=self.normalization,
            metrics=rounded({key: value for key, value in best.items() if key.startswith("val.")}),
            history=tuple(rounded(row) for row in trained.history),
            lineage=self.fitting.lineage({**recipe, "rejected": len(trained.rejected)}, trained.data),
        )
        return Artifact(dict(trained.weights if weights is None else weights), card)


def lay_groundwork(
    fitting: Fitting,
    *,
    architecture: str,
    side: int,
    plan: TrainingPlan,
    several_labels: bool = False,
    shown: Preprocessing | None = None,
) -> Groundwork:
    """Check the images, build the network, and read the images into memory.

    Args:
        fitting: labelled images, one label each or several each, and where to start. With a ``split`` column, "train"
            is trained on and "val" chooses the epoch; without, all are trained on.
        architecture: ``fashion_cnn`` or ``timm:NAME``; a base brings its own.
        side: images are scaled and cropped to side × side pixels; a base brings its own preparation.
        plan: numbers of the training; its seed is replaced by one of the fitting.
        several_labels: whether images with several labels each will do.
        shown: how training images are prepared, where that is not how the classifier prepares its own.

    Raises:
        InputError: several labels where one is needed, or one class; a base that is no classifier of these classes, or
            normalises its images.
    """
    data, base, rng = fitting.data, fitting.base, fitting.rng
    classes, several = data.class_names or (), not (data.labels >= 0).any()
    if several and not several_labels:
        raise InputError(f"{data.name}: this recipe needs images with one label each, and these have several")
    if len(classes) < 2 and not several:
        raise InputError(f"{data.name} has one class, {classes[0]!r}: there is nothing to classify")
    check_classes(base, "base", classes, data.name)
    _check_normalization(base)
    built = architecture_of(architecture, len(classes), side) if base is None else dict(base.card.architecture)
    preparation = (
        Preprocessing(size=(side, side), resize="shorter", resize_to=(side, side))
        if base is None
        else Preprocessing.model_validate(base.card.preparation)
    )
    network = initial_network(built, rng)
    if base is not None:
        load_strictly(network, base.tensors, source=base.card.name)
    has_val = "val" in data.column("split")

    def store(images: ImageSet, how: Preprocessing) -> ImageStore:
        targets = label_table(images) if several else None
        return ImageStore.of_images(images, how, targets=targets, progress=fitting.progress)

    return Groundwork(
        fitting=fitting,
        class_names=classes,
        several=several,
        architecture=built,
        preparation=preparation,
        normalization=base.card.normalization if base is not None else {"mean": [0.0] * 3, "std": [1.0] * 3},
        network=network,
        examples=store(data.of_split("train") if has_val else data, shown or preparation),
        val=store(data.of_split("val"), preparation) if has_val else None,
        plan=fitting.seeded(plan),
    )


def initial_network(architecture: Mapping[str, Any], rng: Randomness) -> nn.Module:
    """Build a network whose initial weights follow from ``rng`` alone."""
    with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
        return untrained(dict(architecture))


def check_classes(artifact: Artifact | None, role: str, classes: tuple[str, ...], images: str) -> None:
    """Refuse an artifact that is no classifier of these classes.

    Raises:
        InputError: as above; the message names the role of the artifact and the images.
    """
    if artifact is not None and (artifact.card.kind != "classifier" or artifact.card.class_names != classes):
        raise InputError(
            f"the {role} {artifact.card.name!r} is a {artifact.card.kind} of {len(artifact.card.class_names)} classes; "
            f"expected a classifier of the {len(classes)} classes of {images}"
        )


def _check_normalization(base: Artifact | None) -> None:
    """Refuse a base that is deployed with a normalisation: a training shows images in [0, 1] as they are."""
    given = base.card.normalization if base is not None else {}
    mean, std = given.get("mean") or [0.0], given.get("std") or [1.0]
    if base is not None and (any(value != 0 for value in mean) or any(value != 1 for value in std)):
        raise InputError(
            f"the base {base.card.name!r} normalises its images (mean {mean}, std {std}), and a training takes images "
            f"in [0, 1] as they are; expected mean 0 and std 1: put the normalisation into the network's first layer, "
            f"or train without a base"
        )


def label_table(images: ImageSet) -> Tensor:
    """The labels of a set with several labels per image: float32 (n, l), 0 and 1.

    Raises:
        InputError: an image without labels.
    """
    rows = images.column("labels")
    unknown = [example_id for example_id, row in zip(images.ids, rows, strict=True) if row is None]
    if unknown:
        raise InputError(f"{images.name}: {len(unknown)} images have no labels, the first is {unknown[0]!r}")
    return torch.tensor(rows, dtype=torch.float32)


def label_figures(model: nn.Module, examples: Examples) -> Mapping[str, float]:
    """Share of right label decisions at probability ½, mean area under the ROC curve, and loss (validation split).

    The area is 0.5 when no label has both values.
    """
    scores, targets = score_examples(model, examples)
    area = multilabel_auroc(targets.numpy().astype(int), scores.numpy()).value
    return {
        "accuracy": float(((scores > 0) == (targets > 0.5)).double().mean()),
        "auroc": 0.5 if math.isnan(area) else area,
        "loss": float(label_cross_entropy(scores, targets).double().mean()),
    }
