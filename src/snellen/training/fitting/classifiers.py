"""Fit a classifier to an image set: what every recipe that trains a classifier shares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snellen.core.artifact import Artifact
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.training.evaluation import accuracy
from snellen.training.fitting.groundwork import lay_groundwork
from snellen.training.fitting.label_tables import label_figures
from snellen.training.loop import train
from snellen.training.objectives import Objective, classify, label_cross_entropy, on_scores
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform


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
    objective: Objective | None = None,
    checkpoint: Path | None = None,
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
        objective: instead of cross-entropy; for images with one label each.
        checkpoint: file to save to, and to go on from if it exists.
        progress: hears of every step.

    Raises:
        InputError: test images, unlabelled images, or a base that is no classifier of these classes.
    """
    ground = lay_groundwork(
        data,
        architecture=architecture,
        side=side,
        plan=plan,
        base=base,
        rng=rng,
        several_labels=objective is None,
        progress=progress,
    )
    trained = train(
        ground.network,
        ground.examples,
        plan=ground.plan,
        objective=objective or (on_scores(label_cross_entropy) if ground.several else classify),
        transform=transform,
        tune=ground.tune,
        evaluate=label_figures if ground.several else accuracy,
        checkpoint=checkpoint,
        recipe=dict(recipe),
        progress=progress,
    )
    return ground.artifact(trained, name=name, recipe=recipe)
