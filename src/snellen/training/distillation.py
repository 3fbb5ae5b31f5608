"""Training a student on the softened answers of a teacher, both at one temperature.

Papernot, McDaniel, Wu, Jha and Swami, "Distillation as a defense to adversarial perturbations against deep neural
networks", IEEE S&P 2016, arXiv 1511.04508, section IV; Hinton, Vinyals and Dean, "Distilling the knowledge in a neural
network", 2015, arXiv 1503.02531, section 2.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.training.batches import Batch, Examples
from snellen.training.evaluation import score_examples
from snellen.training.loop import Trained, train
from snellen.training.objectives import Objective, cross_entropy
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform


class Distilled(NamedTuple):
    """Both trainings; ``teacher`` is None where it was trained before."""

    teacher: Trained | None
    student: Trained


def distil(
    teacher: nn.Module,
    student: nn.Module,
    examples: Examples,
    *,
    temperature: float,
    plan: TrainingPlan,
    hard_share: float = 0.0,
    teacher_is_trained: bool = False,
    transform: BatchTransform | None = None,
    val: Examples | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Distilled:
    """Train both networks at one temperature; the given ones stay as they are.

    Args:
        teacher: images in [0, 1] → scores (n, k).
        student: the same; classes in the same order.
        examples: the train split, with class indices as targets.
        temperature: T > 0, of both trainings.
        plan: numbers of each training.
        hard_share: weight of the labels in the student's loss, in [0, 1).
        teacher_is_trained: take the teacher as it is.
        transform: of the batches of both trainings. With one, the teacher judges each image as the student sees it;
            without, its answers are found once.
        val: chooses the epoch of each training.
        checkpoint: file to save the student's training to, and to go on from; the teacher's is STEM-teacher.SUFFIX.
        progress: callback that receives progress updates.

    Raises:
        InputError: a temperature or share out of range; test images.
    """
    first = None
    if not teacher_is_trained:
        objective = at_temperature(temperature)
        beside = None if checkpoint is None else checkpoint.with_stem(f"{checkpoint.stem}-teacher")
        first = train(
            teacher, examples, plan=plan, objective=objective, transform=transform, val=val, checkpoint=beside,
            progress=progress,
        )  # fmt: skip
        teacher = copy.deepcopy(teacher)
        teacher.load_state_dict(dict(first.weights))
    targets: Tensor | nn.Module = teacher.eval()
    if transform is None:
        targets = soft_labels(teacher, examples, temperature=temperature)
    objective = towards(targets, temperature=temperature, hard_share=hard_share)
    recipe = {"distillation": {"temperature": temperature, "hard_share": hard_share}}
    second = train(
        student,
        examples,
        plan=plan,
        objective=objective,
        transform=transform,
        val=val,
        checkpoint=checkpoint,
        recipe=recipe,
        progress=progress,
    )
    return Distilled(first, second)


@torch.no_grad()
def soft_labels(teacher: nn.Module, examples: Examples, *, temperature: float) -> Tensor:
    """Probabilities of a teacher at a temperature, in evaluation mode: float32 (n, k), in the order of the examples.

    Found by position in training; softmax is taken in float32 for scores of any type.
    """
    _check_temperature(temperature)
    teacher.eval()
    scores, _ = score_examples(teacher, examples)
    return (scores.float() / temperature).softmax(1)


def at_temperature(temperature: float) -> Objective:
    """Cross-entropy of softmax(scores / T) and the labels: how the teacher is trained.

    Raises:
        InputError: T is not above 0.
    """
    _check_temperature(temperature)

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        return cross_entropy(model(batch.images).float() / temperature, batch.targets)

    return objective


def towards(soft: Tensor | nn.Module, *, temperature: float, hard_share: float = 0.0) -> Objective:
    """Cross-entropy of softmax(scores / T) and a teacher's probabilities: how the student is trained.

    −Σ_k q_k log softmax(z / T)_k, with q the teacher's probabilities and z the student's scores. With a share h of the
    labels it is ordinary knowledge distillation (Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2):
    (1 − h) · T² · KL(q ‖ softmax(z / T)) + h · CE(z, y).

    Args:
        soft: q, (n, k), one row for each training example; or the teacher, which judges each batch anew.
        temperature: T > 0.
        hard_share: h, in [0, 1).

    Raises:
        InputError: T or h out of range.
    """
    _check_temperature(temperature)
    if not 0 <= hard_share < 1:
        raise InputError(f"hard_share is a weight from 0 to below 1, got {hard_share}")

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        scores = model(batch.images).float()
        logarithms = F.log_softmax(scores / temperature, dim=1)
        targets = _answers(soft, batch, temperature).to(scores)
        if not hard_share:
            return -(targets * logarithms).sum(1)
        divergence = F.kl_div(logarithms, targets, reduction="none").sum(1)
        return (1 - hard_share) * temperature**2 * divergence + hard_share * cross_entropy(scores, batch.targets)

    return objective


def scale_last_layer(network: nn.Module, factor: float) -> nn.Module:
    """Multiply the last linear layer by a factor, in place: the scores become that many times as large.

    At temperature T = factor, softmax(scores / T) is then what it was at 1. Without it scores must first grow T-fold,
    which takes more steps than a short training has.

    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> images = torch.rand(1, 1, 2, 2)
    >>> before = network(images)
    >>> torch.allclose(scale_last_layer(network, 40.0)(images), 40 * before)
    True

    Raises:
        InputError: the network has no linear layer.
    """
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InputError("the network has no linear layer, whose initial weights could be multiplied")
    with torch.no_grad():
        for parameter in linear[-1].parameters():
            parameter.mul_(factor)
    return network


def _answers(soft: Tensor | nn.Module, batch: Batch, temperature: float) -> Tensor:
    if isinstance(soft, Tensor):
        return soft[batch.positions]
    soft.to(batch.images.device)
    with torch.no_grad():
        return (soft(batch.images).float() / temperature).softmax(1)


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < float("inf"):
        raise InputError(f"a temperature is a number above 0, got {temperature}")
