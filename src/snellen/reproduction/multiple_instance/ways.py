"""Every way of learning from labels of bags: one network, one optimiser and the same views, judged on the same bags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.metrics.auroc import auroc
from snellen.metrics.bag_pooling import Pooling
from snellen.models.encoders.head_on_encoder import InstanceHead, build_head
from snellen.systems.multiple_instance.bag_figures import bag_scores
from snellen.systems.multiple_instance.bag_head import BagHead
from snellen.systems.multiple_instance.bag_instances import BagInstances
from snellen.systems.multiple_instance.bag_pooling import HEADS
from snellen.systems.multiple_instance.bag_recipe import part_of
from snellen.systems.multiple_instance.bag_training import learn_bags, learn_labels, pooling_of, score_bags
from snellen.systems.multiple_instance.feature_views import Views
from snellen.systems.multiple_instance.image_instances import with_encoder
from snellen.systems.multiple_instance.instance_training import learn_instances
from snellen.systems.multiple_instance.settings import InstanceSettings
from snellen.training.acceleration import seeded
from snellen.training.evaluation import score_examples
from snellen.training.plan import TrainingPlan


@dataclass(frozen=True, eq=False)
class Task:
    """What every way is given.

    Args:
        instances: of the train split: standardised vectors, or rows of pixels.
        val: of the validation split; None: last epoch, mean.
        test: of the test split.
        train_truth: of each training instance, for the oracle alone, (n,).
        test_truth: of each test instance, (m,).
    """

    instances: BagInstances
    val: BagInstances | None
    test: BagInstances
    train_truth: NDArray[np.int64]
    test_truth: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Numbers of the trainings.

    Args:
        width: of what stands behind the encoder, or of the hidden layer of every head on vectors.
        settings: of instance-level learning.
        instance_plan: of instance-level learning.
        label_plan: of trainings with a label for each instance.
        bag_plan: of bag heads.
        rates: learning rates to choose among.
        views: of instances, for every way.
        encoder: of images, trained with every way; None: instances are vectors.
        device: where test bags are judged; trainings find theirs.
    """

    width: int
    settings: InstanceSettings
    instance_plan: TrainingPlan
    label_plan: TrainingPlan
    bag_plan: TrainingPlan
    rates: tuple[float, ...]
    views: Views
    encoder: Callable[[], nn.Module] | None = None
    device: str = "cpu"


class Way(NamedTuple):
    """A way after its training.

    Args:
        of_bags: probability that each test bag is positive, (b,).
        of_instances: what speaks for each test instance being positive, (n,).
        history: rows of the epochs that the validation bags chose among.
        best_epoch: the chosen one.
        reported: further figures.
    """

    of_bags: NDArray[Any]
    of_instances: NDArray[Any]
    history: Sequence[Mapping[str, float]]
    best_epoch: int
    reported: Mapping[str, float]


#: What is changed for each ablation of instance-level learning.
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "no_contrast": {"contrast_weight": 0.0},
    "no_prototypes": {"labelled_by": "classifier"},
}

#: Ways whose encoder stays as it begins: what stands behind it is trained alone, to show what training it does.
FROZEN: Mapping[str, str] = {"ins_frozen": "ins", "oracle_frozen": "oracle"}

#: Ways beside instance-level learning, in the order of the figures.
RIVALS = tuple(HEADS)

#: Heads that weigh instances by more than their own score.
ATTENDING = ("attention", "clustering_attention", "dual_stream", "transformer")

#: Copied labels without views, to show what the views do.
WITHOUT_VIEWS = "copied_labels_as_they_are"


def measured(
    way: str, task: Task, budget: Budget, rng: Randomness, progress: Progress, *, rates: Sequence[float] | None = None
) -> dict[str, float]:
    """Train in one way and judge on the test bags.

    Args:
        way: ``ins``, one of its ablations, one of :data:`RIVALS`, :data:`WITHOUT_VIEWS`, ``oracle``: trained on the
            truth of instances, or one of :data:`FROZEN`.
        task: bags.
        budget: numbers.
        rng: seeds weights, order and views, the same for every way.
        progress: callback that receives progress updates.
        rates: learning rates; the validation bags choose one, see :func:`by_val_bags`; None: those of the budget.

    Returns:
        ``instance_auroc`` over all test instances, ``bag_auroc``, ``learning_rate``; of instance-level learning also
        what its pseudo labels have come to.
    """
    if way in FROZEN:
        way, budget = FROZEN[way], _frozen(budget)
    seed = rng.generator("training").initial_seed() % 2**31
    by_instances = way == "ins" or way in ABLATIONS
    trained: dict[float, Way] = {}
    for rate in rates or budget.rates:
        changed = {"seed": seed, "learning_rate": rate}
        if by_instances:
            trained[rate] = _instances(way, task, budget, changed, rng, progress)
        elif way in ("copied_labels", WITHOUT_VIEWS, "oracle"):
            trained[rate] = _labels(way, task, budget, changed, rng, progress)
        else:
            trained[rate] = _bags(way, task, budget, changed, rng, progress)
    chosen = max(trained, key=lambda rate: by_val_bags(trained[rate]))
    best = trained[chosen]
    return {
        "instance_auroc": auroc(task.test_truth, best.of_instances),
        "bag_auroc": auroc(task.test.labels.numpy(), best.of_bags),
        "learning_rate": chosen,
        **best.reported,
    }


def compared(instances: Mapping[str, float], percent: str) -> dict[str, float]:
    """What the AUROC of instances by way comes to.

    Returns:
        ``PERCENT.spread``: highest less lowest of instance-level learning and its rivals, of those that were measured.
        ``PERCENT.attending``: the highest of :data:`ATTENDING`, where all of them were.
    """
    found = [instances[way] for way in ("ins", *RIVALS) if way in instances]
    figures = {f"{percent}.spread": max(found) - min(found)}
    if set(ATTENDING) <= set(instances):
        figures[f"{percent}.attending"] = max(instances[way] for way in ATTENDING)
    return figures


def by_val_bags(way: Way) -> tuple[float, float]:
    """AUROC of the validation bags at the chosen epoch, and its mean over the epochs for equals; zeros without bags."""
    figures = {int(row["epoch"]): row.get("val.bag_auroc", 0.0) for row in way.history}
    return figures[way.best_epoch], float(np.mean(list(figures.values())))


def _frozen(budget: Budget) -> Budget:
    made = budget.encoder
    assert made is not None, "vectors have no encoder that could be frozen"
    return replace(budget, encoder=lambda: made().requires_grad_(False))


def _instances(
    way: str, task: Task, budget: Budget, changed: Mapping[str, Any], rng: Randomness, progress: Progress
) -> Way:
    """Instance-level learning, or an ablation of it."""
    head = _instance_head(task, budget, rng)
    learnt = learn_instances(
        task.instances,
        task.val,
        encoder=head.hidden,
        classifier=head.scores,
        views=budget.views,
        settings=budget.settings.model_copy(update=dict(ABLATIONS.get(way, {}))),
        plan=budget.instance_plan.model_copy(update=dict(changed)),
        progress=progress,
    )
    head.hidden.load_state_dict(part_of(learnt.weights, "encoder."))
    head.scores.load_state_dict(part_of(learnt.weights, "classifier."))
    row = learnt.history[learnt.best_epoch - 1]
    reported = {name: row[f"train.{name}"] for name in ("positive_share", "bags_with_positive", "highest_target")}
    main = [row for row in learnt.history if row["phase"] == learnt.history[-1]["phase"]]
    return Way(*_pooled(head.to(budget.device), task, learnt.pooling), main, learnt.best_epoch, reported)


def _labels(
    way: str, task: Task, budget: Budget, changed: Mapping[str, Any], rng: Randomness, progress: Progress
) -> Way:
    """Training on a label for each instance: that of its bag, or its own."""
    head = _instance_head(task, budget, rng)
    labels = torch.from_numpy(task.train_truth) if way == "oracle" else task.instances.instance_labels
    views = None if way == WITHOUT_VIEWS else budget.views
    plan = budget.label_plan.model_copy(update=dict(changed))
    trained = learn_labels(head, task.instances, labels, task.val, plan=plan, views=views, progress=progress)
    head.load_state_dict(part_of(trained.weights, "head."))
    return Way(*_pooled(head.to(budget.device), task, pooling_of(trained)), trained.history, trained.best_epoch, {})


def _bags(way: str, task: Task, budget: Budget, changed: Mapping[str, Any], rng: Randomness, progress: Progress) -> Way:
    """Training of a head on bags."""
    arguments = {name: value for name, value in HEADS[way].items() if name != "head"}  # type: ignore[index]
    head = _head(str(HEADS[way]["head"]), task, budget, rng, **arguments)  # type: ignore[index]
    assert isinstance(head, BagHead)
    plan = budget.bag_plan.model_copy(update=dict(changed))
    trained = learn_bags(head, task.instances, task.val, plan=plan, views=budget.views, progress=progress)
    head.load_state_dict(part_of(trained.weights, "head."))
    of_bags, of_instances = score_bags(head.eval().to(budget.device), task.test)
    return Way(of_bags.numpy(), of_instances.numpy(), trained.history, trained.best_epoch, {})


def _pooled(head: InstanceHead, task: Task, pooling: Pooling) -> tuple[NDArray[Any], NDArray[Any]]:
    logits, _ = score_examples(head.eval(), task.test.store())
    return bag_scores(logits, task.test, pooling), (logits[:, 1] - logits[:, 0]).numpy()


def _instance_head(task: Task, budget: Budget, rng: Randomness) -> InstanceHead:
    head = _head("instance", task, budget, rng)
    assert isinstance(head, InstanceHead)
    return head


def _head(name: str, task: Task, budget: Budget, rng: Randomness, **arguments: object) -> nn.Module:
    with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
        if budget.encoder is None:
            return build_head(name, task.instances.inputs.shape[1], budget.width, **arguments)
        encoder = budget.encoder()  # first, so that every way begins from the same one
        return with_encoder(build_head(name, 1, budget.width, **arguments), encoder)
