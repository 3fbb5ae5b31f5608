"""Every way of learning from labels of bags, trained with one budget and judged on the same bags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.metrics.auroc import auroc
from snellen.models.bag_heads.bag_head import BagHead
from snellen.models.bag_heads.instance_head import InstanceHead
from snellen.models.head_on_encoder import build_head
from snellen.multiple_instance.bag_figures import bag_scores
from snellen.multiple_instance.bag_instances import BagInstances
from snellen.multiple_instance.bag_recipe import part_of
from snellen.multiple_instance.bag_training import learn_bags, learn_labels, pooling_of, score_bags
from snellen.multiple_instance.feature_views import feature_views
from snellen.multiple_instance.instance_training import learn_instances
from snellen.multiple_instance.settings import InstanceSettings
from snellen.progress import Progress
from snellen.randomness import Randomness
from snellen.recipes.bag_pooling import HEADS
from snellen.training.acceleration import seeded
from snellen.training.plan import TrainingPlan


@dataclass(frozen=True, eq=False)
class Task:
    """What every way is given.

    Args:
        instances: standardised vectors of the train split.
        tune: of the tune split; None: last epoch, mean.
        test: of the test split.
        train_truth: of each training instance, for the oracle alone, (n,).
        test_truth: of each test instance, (m,).
    """

    instances: BagInstances
    tune: BagInstances | None
    test: BagInstances
    train_truth: NDArray[np.int64]
    test_truth: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Numbers of the trainings.

    Args:
        width: of the hidden layer of every head.
        settings: of instance-level learning.
        instance_plan: of instance-level learning.
        label_plan: of trainings with a label for each instance.
        bag_plan: of bag heads.
    """

    width: int
    settings: InstanceSettings
    instance_plan: TrainingPlan
    label_plan: TrainingPlan
    bag_plan: TrainingPlan


#: What is changed for each ablation of instance-level learning.
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "no_contrast": {"contrast_weight": 0.0},
    "no_prototypes": {"labelled_by": "classifier"},
    "one_enforced": {"at_least_one": True},
}

#: Ways beside instance-level learning, in the order of the figures.
RIVALS = tuple(HEADS)


def measured(way: str, task: Task, budget: Budget, rng: Randomness, progress: Progress) -> dict[str, float]:
    """Train in one way and judge on the test bags.

    Args:
        way: ``ins``, one of its ablations, one of :data:`RIVALS`, or ``oracle``: trained on the truth of instances.
        task: bags.
        budget: numbers.
        rng: seeds weights, order and views, the same for every way.
        progress: hears of every step.

    Returns:
        ``instance_auroc`` over all test instances, ``bag_auroc``; of instance-level learning also what its pseudo
        labels have come to.
    """
    seed = rng.generator("training").initial_seed() % 2**31
    if way in HEADS and HEADS[way]["head"] != "instance":  # type: ignore[index]
        of_bags, of_instances = _by_bags(HEADS[way], task, budget, seed, rng, progress)  # type: ignore[index]
        return _judged(task, of_bags.numpy(), of_instances.numpy())
    head = _head("instance", task, budget, rng)
    assert isinstance(head, InstanceHead)
    told: dict[str, float] = {}
    if way in ("copied_labels", "oracle"):
        labels = task.instances.instance_labels if way == "copied_labels" else torch.from_numpy(task.train_truth)
        plan = budget.label_plan.model_copy(update={"seed": seed})
        trained = learn_labels(head, task.instances, labels, task.tune, plan=plan, progress=progress)
        head.load_state_dict(part_of(trained.weights, "head."))
        pooling = pooling_of(trained)
    else:
        learnt = learn_instances(
            task.instances,
            task.tune,
            encoder=head.hidden,
            classifier=head.scores,
            views=feature_views(noise=0.2, hidden=0.2),
            settings=budget.settings.model_copy(update=dict(ABLATIONS.get(way, {}))),
            plan=budget.instance_plan.model_copy(update={"seed": seed}),
            progress=progress,
        )
        head.hidden.load_state_dict(part_of(learnt.weights, "encoder."))
        head.scores.load_state_dict(part_of(learnt.weights, "classifier."))
        pooling = learnt.pooling
        row = learnt.history[learnt.best_epoch - 1]
        told = {name: row[f"train.{name}"] for name in ("positive_share", "bags_with_positive", "highest_target")}
    with torch.no_grad():
        logits = head(task.test.inputs)
    return _judged(task, bag_scores(logits, task.test, pooling), (logits[:, 1] - logits[:, 0]).numpy()) | told


def _by_bags(
    of_head: Mapping[str, Any], task: Task, budget: Budget, seed: int, rng: Randomness, progress: Progress
) -> tuple[Tensor, Tensor]:
    """Scores of the test bags, and of their instances."""
    arguments = {name: value for name, value in of_head.items() if name != "head"}
    head = _head(str(of_head["head"]), task, budget, rng, **arguments)
    assert isinstance(head, BagHead)
    plan = budget.bag_plan.model_copy(update={"seed": seed})
    trained = learn_bags(head, task.instances, task.tune, plan=plan, progress=progress)
    head.load_state_dict(part_of(trained.weights, "head."))
    return score_bags(head.eval(), task.test)


def _head(name: str, task: Task, budget: Budget, rng: Randomness, **arguments: object) -> torch.nn.Module:
    with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
        return build_head(name, task.instances.inputs.shape[1], budget.width, **arguments)


def _judged(task: Task, of_bags: NDArray[Any], of_instances: NDArray[Any]) -> dict[str, float]:
    return {
        "instance_auroc": auroc(task.test_truth, of_instances),
        "bag_auroc": auroc(task.test.labels.numpy(), of_bags),
    }
