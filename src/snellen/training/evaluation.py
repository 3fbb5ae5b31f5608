"""Figures on the validation split, and which epoch is the best by them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from snellen.core.errors import ModelError, unknown_name
from snellen.core.preprocessing import to_unit
from snellen.training.batches import Examples
from snellen.training.objectives import cross_entropy
from snellen.training.plan import TrainingPlan

#: (model in evaluation mode, validation examples) → named figures.
Evaluate = Callable[[nn.Module, Examples], Mapping[str, float]]


@torch.no_grad()
def score_examples(
    model: nn.Module, examples: Examples, *, batch_size: int = 500, mirrored: bool = False
) -> tuple[Tensor, Tensor]:
    """Scores (n, k) and targets of all examples, in their order, on the CPU.

    Args:
        model: in evaluation mode.
        examples: that are scored.
        batch_size: examples of one pass.
        mirrored: add the scores of each image mirrored left to right (test-time averaging over flips).
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    scores, all_targets = [], []
    for positions in torch.arange(len(examples.ids)).split(batch_size):
        images, targets = examples.read(positions)
        images = images.to(device)
        inputs = to_unit(images) if images.dtype == torch.uint8 else images
        own = model(inputs).float()
        scores.append((own + model(inputs.flip(3)).float() if mirrored else own).cpu())
        all_targets.append(targets)
    return torch.cat(scores), torch.cat(all_targets)


def layer_inputs(layer: nn.Linear, network: nn.Module, examples: Examples) -> Tensor:
    """What a layer of the network is given for all examples, float32 (n, d), on the CPU.

    Args:
        layer: of the network; called once for each batch.
        network: in evaluation mode.
        examples: prepared images.
    """
    caught: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _layer, inputs: caught.append(inputs[0].detach().cpu()))
    try:
        score_examples(network.eval(), examples)
    finally:
        handle.remove()
    return torch.cat(caught)


def accuracy(model: nn.Module, examples: Examples) -> Mapping[str, float]:
    """Weighted share of right decisions, and mean cross-entropy in nats. Of soft targets, the largest counts.

    Raises:
        ModelError: scores that are not finite.
    """
    scores, targets = score_examples(model, examples)
    if not bool(torch.isfinite(scores).all()):
        raise ModelError("the model gives scores that are not finite")
    weights = examples.weights.double() / examples.weights.double().sum()
    right = scores.argmax(1) == (targets.argmax(1) if targets.ndim == 2 else targets)
    return {
        "accuracy": float((weights * right).sum()),
        "loss": float((weights * cross_entropy(scores, targets).double()).sum()),
    }


def beats_best(
    row: Mapping[str, float], history: Sequence[Mapping[str, float]], best_epoch: int, plan: TrainingPlan
) -> bool:
    """Whether the figures of a new epoch beat those of the best one; the earlier epoch wins a tie.

    Args:
        row: figures of the new epoch, those of the validation split as ``val.NAME``.
        history: rows of the epochs before it.
        best_epoch: number of the best among them, from 1; 0 if there is none.
        plan: names the figure and its direction.

    Raises:
        UnknownNameError: there is no such figure.
        ModelError: a figure is not finite.

    >>> beats_best({"epoch": 2, "val.accuracy": 0.9}, [{"epoch": 1, "val.accuracy": 0.8}], 1, TrainingPlan())
    True
    """
    name = f"val.{plan.select}"
    if name not in row:
        raise unknown_name(
            "figure to select by", plan.select, [key.removeprefix("val.") for key in row if key.startswith("val.")]
        )
    for key, value in row.items():
        if not math.isfinite(value):
            raise ModelError(f"epoch {row['epoch']:.0f}: the figure {key} is not finite ({value})")
    if not best_epoch:
        return True
    new, best = row[name], history[best_epoch - 1][name]
    return new > best if plan.select_highest else new < best
