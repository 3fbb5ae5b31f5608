"""Instance-level learning from start to end: pretraining, warm-up, and the phase in which pseudo labels move."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.metrics.bag_pooling import Pooling
from snellen.systems.multiple_instance.bag_figures import InstanceFigures, best_pooling
from snellen.systems.multiple_instance.bag_instances import BagInstances, check_both_classes
from snellen.systems.multiple_instance.candidate_labels import candidates_of
from snellen.systems.multiple_instance.feature_views import Views
from snellen.systems.multiple_instance.instance_learner import InstanceLearner
from snellen.systems.multiple_instance.instance_objectives import InstanceObjective, LabelsOfBags
from snellen.systems.multiple_instance.settings import InstanceSettings
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Of the published scripts for vectors; their momentum is plain, and this one is Nesterov's.
PLAN = TrainingPlan(
    epochs=150, batch_size=64, optimizer="sgd", learning_rate=0.01, weight_decay=1e-3, schedule="constant"
)


class Phase(NamedTuple):
    """A part of the training: what it is called, and how many epochs it has."""

    name: str
    epochs: int


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a training gives.

    Args:
        weights: state dict of the learner at the chosen epoch.
        history: one row for each epoch; ``phase`` is 0 in the pretraining, 1 in the warm-up, 2 afterwards.
        best_epoch: the chosen one, from 1.
        pooling: of instances into bags, chosen with it; mean where there are no validation bags.
    """

    weights: Mapping[str, Tensor]
    history: tuple[Mapping[str, float], ...]
    best_epoch: int
    pooling: Pooling


def phases(settings: InstanceSettings, epochs: int) -> list[Phase]:
    """The phases in their order, those without epochs left out.

    Raises:
        InputError: nothing is left of the epochs for pseudo labels to move in.
    """
    before = settings.pretraining_epochs + settings.warmup_epochs
    if epochs <= before:
        raise InputError(
            f"pretraining and warm-up take {before} of {epochs} epochs, so pseudo labels would never move; train "
            f"longer (plan.epochs), or shorten warmup_epochs"
        )
    named = (
        ("pretraining", settings.pretraining_epochs),
        ("warmup", settings.warmup_epochs),
        ("main", epochs - before),
    )
    return [Phase(name, count) for name, count in named if count]


def learn_instances(
    instances: BagInstances,
    val: BagInstances | None,
    *,
    encoder: nn.Module,
    classifier: nn.Linear,
    views: Views,
    settings: InstanceSettings,
    plan: TrainingPlan,
    checkpoint: Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Learnt:
    """Train an instance classifier of the labels of bags.

    Args:
        instances: to train on, in bags of both classes.
        val: bags of both classes that choose the epoch of the last phase and the pooling; None: the last epoch.
        encoder: f, inputs → (n, width); initial weights, which stay as they are.
        classifier: g, initial weights likewise.
        views: of inputs.
        settings: numbers of the method.
        plan: numbers of the training; its epochs are those of all phases.
        checkpoint: file to save to, and to go on from if it exists; earlier phases have files of their own beside it.
        recipe: what else defines this training, as JSON values.
        progress: callback that receives progress updates.

    Raises:
        InputError: bags of one class, of several positive ones, or without labels; too few epochs; test images.
    """
    course = phases(settings, plan.epochs)
    check_both_classes(instances, val)
    with seeded(derive_seed(plan.seed, "projection"), torch.device("cpu")):
        learner = InstanceLearner(
            copy.deepcopy(encoder), copy.deepcopy(classifier), candidates_of(instances.instance_labels), settings
        )
    identity = {**(recipe or {}), "bags": instances.fingerprint(), "val bags": val and val.fingerprint()}
    history: list[Mapping[str, float]] = []
    for phase in course:
        before, last = len(history), phase.name == "main"
        everywhere = phase.name == "pretraining" or last or settings.warmup_on == "all"
        store = instances.store(None if everywhere else instances.instance_labels.nonzero().flatten())
        learner.epoch.zero_()
        trained = train(
            learner,
            store,
            plan=plan.model_copy(
                update={
                    "epochs": phase.epochs,
                    "seed": derive_seed(plan.seed, "phase", phase.name) % 2**31,
                    "select": "selection",
                    "select_highest": True,
                }
            ),
            objective=_objective(phase, instances, views, plan, store, before),
            val=instances.store() if val is None else val.store(),
            evaluate=InstanceFigures(val, instances, choosing=last),
            checkpoint=_beside(checkpoint, phase, last=last),
            recipe={**identity, "phase": phase.name},
            progress=progress,
        )
        learner.load_state_dict(dict(trained.weights))
        history += [_row(row, phase, before) for row in trained.history]
    best = next(row for row in trained.history if row["epoch"] == trained.best_epoch)
    return Learnt(
        weights=trained.weights,
        history=tuple(history),
        best_epoch=before + trained.best_epoch,
        pooling="mean" if val is None else best_pooling(best, "val."),
    )


def _objective(
    phase: Phase,
    instances: BagInstances,
    views: Views,
    plan: TrainingPlan,
    store: ImageStore,
    before: int,
) -> LabelsOfBags | InstanceObjective:
    if phase.name == "pretraining":
        return LabelsOfBags(instances, views)
    steps = len(store) // plan.batch_size if plan.drop_last else math.ceil(len(store) / plan.batch_size)
    return InstanceObjective(
        instances=instances,
        views=views,
        warm_up=phase.name == "warmup",
        before=before,
        epochs=plan.epochs,
        steps=steps,
        seed=plan.seed,
    )


def _beside(checkpoint: Path | None, phase: Phase, *, last: bool) -> Path | None:
    if checkpoint is None or last:
        return checkpoint
    return checkpoint.with_name(f"{checkpoint.stem}-{phase.name}{checkpoint.suffix}")


def _row(row: Mapping[str, float], phase: Phase, before: int) -> dict[str, float]:
    """A row of the history, counted over all phases; figures of the training bags have names of their own."""
    named = {name.replace("val.train_", "train."): value for name, value in row.items() if name != "val.selection"}
    number = {"pretraining": 0.0, "warmup": 1.0, "main": 2.0}[phase.name]
    return {**named, "epoch": row["epoch"] + before, "phase": number}
