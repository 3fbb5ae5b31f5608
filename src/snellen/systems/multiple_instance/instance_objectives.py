"""What the training loop minimises in the three phases of instance-level learning."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.core.randomness import derive_seed
from snellen.systems.multiple_instance.bag_instances import BagInstances
from snellen.systems.multiple_instance.bag_loss import bag_cross_entropy, published_bag_loss
from snellen.systems.multiple_instance.feature_views import Views
from snellen.systems.multiple_instance.instance_learner import InstanceLearner
from snellen.systems.multiple_instance.pseudo_labels import inertia, with_one_positive
from snellen.training.batches import Batch
from snellen.training.objectives import cross_entropy


@dataclass(frozen=True, eq=False)
class LabelsOfBags:
    """Pretraining: each instance has the label of its bag.

    Args:
        instances: of the training.
        views: of them.
    """

    instances: BagInstances
    views: Views

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropies, (n,)."""
        learner = _opened(model, batch.epoch)
        labels = self.instances.instance_labels.to(batch.targets.device)[batch.targets]
        losses = cross_entropy(learner(self.views(batch.images, batch.rng, "weak")), labels)
        _add(learner, losses.mean())
        return losses


@dataclass(frozen=True, eq=False)
class InstanceObjective:
    """Warm-up and main phase: classification, contrast, and the bags that fall on this step.

    The bags of an epoch are shared out evenly among its steps, in an order of its own.

    Args:
        instances: of the training.
        views: of them.
        warm_up: which of the two phases.
        before: epochs of earlier phases.
        epochs: of all phases; over them the share of a target that is kept falls.
        steps: of an epoch.
        seed: of the order of bags.
    """

    instances: BagInstances
    views: Views
    warm_up: bool
    before: int
    epochs: int
    steps: int
    seed: int

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses of the instances with the mean loss of the bags added to each, (n,)."""
        learner = _opened(model, batch.epoch, None if self.warm_up else self.instances)
        settings = learner.settings
        weak, strong = (self.views(batch.images, batch.rng, name) for name in ("weak", "strong"))
        epoch = self.before + batch.epoch - 1
        phi = inertia(epoch, self.epochs, first=settings.first_inertia, last=settings.last_inertia)
        found = learner.step(weak, strong, batch.targets, warm_up=self.warm_up, inertia=phi)
        losses = found.classification + settings.contrast_weight * found.contrast
        of_bags = self._of_bags(learner, batch)
        _add(learner, found.classification.mean(), found.contrast.mean(), of_bags)
        return losses + settings.bag_weight * of_bags

    def _of_bags(self, learner: InstanceLearner, batch: Batch) -> Tensor:
        """Mean loss of the bags of this step, (); 0 where there is none."""
        number, count = int(learner.sums[3]), len(self.instances.labels)
        first, last = (math.floor(count * step / self.steps) for step in (number, number + 1))
        begun = self.before + batch.epoch >= learner.settings.bags_from
        if not begun or not learner.settings.bag_weight or first == last:
            return torch.zeros((), device=batch.images.device)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order of bags", batch.epoch))
        chosen = torch.randperm(count, generator=generator)[first:last]
        members = [self.instances.members[bag] for bag in chosen.tolist()]
        shown = self.views(self.instances.read(torch.cat(members)).to(batch.images), batch.rng, "bags")
        of_bag = torch.arange(len(chosen)).repeat_interleave(torch.tensor([len(rows) for rows in members]))
        of_bag, labels = of_bag.to(shown.device), self.instances.labels[chosen].to(shown.device)
        if learner.settings.parity:
            return published_bag_loss(learner.encoder(shown), of_bag, labels).mean()
        return bag_cross_entropy(learner(shown), of_bag, labels).mean()


def _opened(model: nn.Module, epoch: int, enforced_in: BagInstances | None = None) -> InstanceLearner:
    """The learner, in this epoch: at its first step sums begin anew, and positives are enforced if requested."""
    assert isinstance(model, InstanceLearner)
    if int(model.epoch) != epoch:
        model.epoch.fill_(epoch)
        model.sums.zero_()
        if enforced_in is not None and model.settings.at_least_one:
            of_bag, labels = (one.to(model.targets.device) for one in (enforced_in.of_bag, enforced_in.labels))
            model.targets.copy_(with_one_positive(model.targets, of_bag, labels))
    return model


def _add(learner: InstanceLearner, *losses: Tensor) -> None:
    learner.sums[: len(losses)] += torch.stack([loss.detach().double() for loss in losses])
    learner.sums[3] += 1
