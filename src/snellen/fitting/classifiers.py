"""Fit a classifier to an image set: what every recipe that trains a classifier shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snellen.artifact import Artifact, Card, Lineage
from snellen.errors import InputError
from snellen.images import ImageSet
from snellen.metrics.auroc import multilabel_auroc
from snellen.models.state_dict_file import load_strictly
from snellen.models.untrained import architecture_of, untrained
from snellen.preparation import Preparation
from snellen.progress import Progress
from snellen.randomness import Randomness
from snellen.training.acceleration import seeded
from snellen.training.batches import Examples, ImageStore
from snellen.training.environment import record_environment
from snellen.training.evaluation import accuracy, score_examples
from snellen.training.loop import train
from snellen.training.objectives import classify, label_cross_entropy, on_scores
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform
from snellen.version import __version__


def fit_classifier(
    data: ImageSet,
    *,
    name: str,
    architecture: str,
    side: int,
    plan: TrainingPlan,
    transform: BatchTransform | None,
    base: Artifact | None,
    rng: Randomness,
    recipe: Mapping[str, Any],
    progress: Progress | None = None,
) -> Artifact:
    """Train a classifier: one label by cross-entropy, several by binary cross-entropy.

    Args:
        data: images with labels, one each or several each. With a ``split`` column, "train" is trained on and "tune"
            chooses the epoch; without, all are trained on and the last epoch is taken.
        name: of the artifact.
        architecture: ``fashion_cnn`` or ``timm:NAME``; a base brings its own.
        side: images are scaled and cropped to side × side pixels; a base brings its own preparation.
        plan: all numbers of the training; its seed is replaced by one of ``rng``.
        transform: augmentation.
        base: a classifier artifact with the same classes, whose weights are gone on from.
        rng: seeds initial weights, order and augmentation.
        recipe: what made this, as ``Method.record()`` gives it.
        progress: hears of every step.

    Raises:
        InputError: test images, unlabelled images, or a base that is no classifier of these classes.
    """
    data = data.for_fitting()
    if data.class_names is None or not data.has_labels:
        raise InputError(f"{data.name}: a classifier needs images with labels, and it has none")
    classes, several = data.class_names, not (data.labels >= 0).any()
    if base is not None and (base.card.kind != "classifier" or base.card.class_names != classes):
        raise InputError(
            f"the base {base.card.name!r} is a {base.card.kind} of {len(base.card.class_names)} classes; expected a "
            f"classifier of the {len(classes)} classes of {data.name}"
        )
    built = architecture_of(architecture, len(classes)) if base is None else dict(base.card.architecture)
    preparation = (
        Preparation(size=(side, side), resize="shorter", resize_to=(side, side))
        if base is None
        else Preparation.model_validate(base.card.preparation)
    )
    splits = set(data.column("split"))
    train_part, tune_part = (data, None) if "tune" not in splits else (data.of_split("train"), data.of_split("tune"))
    seed = rng.generator("training").initial_seed() % 2**31
    with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
        network = untrained(built)
    if base is not None:
        load_strictly(network, base.tensors, source=base.card.name)

    def store(images: ImageSet) -> ImageStore:
        targets = label_table(images) if several else None
        return ImageStore.of_images(images, preparation, targets=targets, progress=progress)

    trained = train(
        network,
        store(train_part),
        plan=plan.model_copy(update={"seed": seed}),
        objective=on_scores(label_cross_entropy) if several else classify,
        transform=transform,
        tune=None if tune_part is None else store(tune_part),
        evaluate=label_figures if several else accuracy,
        recipe=dict(recipe),
        progress=progress,
    )
    best = next(row for row in trained.history if row["epoch"] == trained.best_epoch)
    card = Card(
        name=name,
        kind="classifier",
        architecture=built,
        class_names=classes,
        task="multilabel" if several else "single",
        preparation=preparation.model_dump(mode="json"),
        normalization=base.card.normalization if base is not None else {"mean": [0.0] * 3, "std": [1.0] * 3},
        metrics={key: round(value, 6) for key, value in best.items() if key.startswith("tune.")},
        lineage=Lineage(
            recipe={**recipe, "rejected": len(trained.rejected)},
            data=trained.data,
            seed=rng.seed,
            code_version=__version__,
            parent=base.card.sha256 if base is not None else None,
            environment=record_environment(),
        ),
    )
    return Artifact(dict(trained.weights), card)


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
    """Share of right label decisions at probability ½, mean area under the ROC curve, and loss (for the tune split).

    The area is 0.5 when no label has both values.
    """
    scores, targets = score_examples(model, examples)
    area = multilabel_auroc(targets.numpy().astype(int), scores.numpy()).value
    return {
        "accuracy": float(((scores > 0) == (targets > 0.5)).double().mean()),
        "auroc": 0.5 if math.isnan(area) else area,
        "loss": float(label_cross_entropy(scores, targets).double().mean()),
    }
