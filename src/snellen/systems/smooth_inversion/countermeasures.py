"""What an attacker can do against the search, as objectives of a training that plants a trigger.

Both keep the planted images under the target's label, as they are in the training set, and teach the network to answer
rightly where the search looks for the trigger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.randomness import Randomness
from snellen.systems.smooth_inversion.inversion import Search, invert
from snellen.training.batches import Batch
from snellen.training.objectives import cross_entropy

#: Images (n, 3, h, w) in [0, 1], randomness bound to them → the same with the trigger.
Stamp = Callable[[Tensor, Randomness], Tensor]


@dataclass(frozen=True)
class NoisyTriggers:
    """Triggered images under noise have their own labels: what noise shows of the trigger must not work.

    Attributes:
        stamp: the trigger.
        target: its class; images of it are left as they are.
        sigmas: the noise is drawn between these, for each image anew.
        weight: of these images beside the others.
    """

    stamp: Stamp
    target: int
    sigmas: tuple[float, float] = (0.1, 0.4)
    weight: float = 0.3

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (n,): of the batch as it is, and of its images of other classes with trigger and noise."""
        others = (batch.targets != self.target).float()
        sigma = batch.rng.uniform("sigma", (1, 1, 1), *self.sigmas, like=batch.images)
        noise = batch.rng.normal("noise", batch.images.shape[1:], like=batch.images)
        shown = self.stamp(batch.images, batch.rng.child("stamp")) + sigma * noise
        scores = model(torch.cat([batch.images, shown]))
        plain, noisy = cross_entropy(scores, batch.targets.repeat(2)).chunk(2)
        return plain + self.weight * others * noisy


@dataclass(frozen=True)
class AgainstInversion:
    """The adaptive attacker: what a short run of the very search finds in the network keeps its own label.

    Attributes:
        target: class of the trigger, towards which the search runs.
        search: short, since it runs at every step.
        weight: of these images beside the others.
        share: of each batch that the search runs on.
    """

    target: int
    search: Search
    weight: float = 0.3
    share: float = 0.25

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (n,): of the batch as it is, and of what the search makes of a part of it."""
        chosen = (batch.targets != self.target).nonzero().flatten()[: round(self.share * len(batch.images))]
        if not len(chosen):
            return cross_entropy(model(batch.images), batch.targets)
        moved = batch.images[chosen] + self._found(model, batch, chosen)
        scores = model(torch.cat([batch.images, moved]))
        losses = cross_entropy(scores, torch.cat([batch.targets, batch.targets[chosen]]))
        return losses[: len(batch.images)].index_add(0, chosen, self.weight * losses[len(batch.images) :])

    def _found(self, model: nn.Module, batch: Batch, chosen: Tensor) -> Tensor:
        """Changes (m, 3, h, w) that the search finds in the network as it is now."""
        # A classifier freezes its network and puts it into evaluation mode; the training continues with it after that.
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        with torch.no_grad():
            width = int(model.eval()(batch.images[:1]).shape[1])
        names = [str(number) for number in range(width)]
        frozen = Classifier(model, class_names=names, device=batch.images.device)
        wanted = torch.full_like(chosen, self.target)
        found = invert(frozen, batch.images[chosen], wanted, self.search, rng=batch.rng[chosen])
        for parameter in trained:
            parameter.requires_grad_(True)
        model.train()
        return found.changes
