"""Small networks that are asked what they see in scenes, for the tables of docs/optotypes.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.preprocessing import to_unit
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scene import Scene
from snellen.models.classifiers.factor_judge import LAYERS, FactorNetwork
from snellen.training import ImageStore, TrainingPlan, train
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch
from snellen.training.objectives import Objective

#: Channels and strides of the convolutions, for questions that need less than all of a judge's.
SMALL_LAYERS = ((32, 1), (64, 2), (64, 1), (96, 2), (96, 1))


@dataclass(frozen=True)
class Heads:
    """Several questions answered by one network: their names and the number of answers to each."""

    counts: Mapping[str, int]

    @property
    def width(self) -> int:
        """Numbers that the network gives."""
        return sum(self.counts.values())

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Sum of the cross-entropies of all questions; an answer of −1 is not asked for."""
        parts = model(batch.images).split(tuple(self.counts.values()), 1)
        asked = zip(parts, batch.targets.unbind(1), strict=True)
        return sum(F.cross_entropy(part, target, reduction="none", ignore_index=-1) for part, target in asked)

    def accuracies(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Share of right answers to each question, of those that were asked."""
        found = {}
        for name, part, target in zip(
            self.counts, outputs.split(tuple(self.counts.values()), 1), targets.unbind(1), strict=True
        ):
            asked = target >= 0
            found[name] = (part.argmax(1)[asked] == target[asked]).double().mean().item()
        return found


def pictures(scenes: Sequence[Scene], size: int = 32) -> Tensor:
    """Pictures of scenes, uint8 (n, 3, size, size)."""
    return torch.cat([render(scenes[start : start + 256], size).pixels for start in range(0, len(scenes), 256)])


def trained(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    plan: TrainingPlan,
    objective: Objective,
) -> nn.Module:
    """The model after training on pictures."""
    result = train(
        model,
        ImageStore.of_tensors(images, targets, split="train"),
        plan=plan,
        objective=objective,
    )
    model.load_state_dict(result.weights)
    return model.eval()


def answers(model: nn.Module, images: Tensor) -> Tensor:
    """What a model says of pictures."""
    with torch.inference_mode():
        return torch.cat([model(to_unit(part)) for part in images.split(256)])


def new_network(outputs: int, seed: int, layers: Sequence[Sequence[int]] = LAYERS) -> FactorNetwork:
    """An untrained network whose weights follow from a seed."""
    with seeded(seed, torch.device("cpu")):
        return FactorNetwork(outputs, layers)
