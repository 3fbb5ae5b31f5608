"""Boundary unlearning: decisions at the forget set move to the nearest other class, or to a class that is taken away.

Chen, Gao, Liu, Peng and Wang, "Boundary unlearning: rapid forgetting of deep networks via shifting the decision
boundary", CVPR 2023, arXiv 2303.11570, sections 3.2 (shrink) and 3.3 (expanding).
"""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from snellen.core.errors import UnsupportedError
from snellen.core.preprocessing import to_unit
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetting, TunedForgetter
from snellen.methods.forgetting.initial_weights import last_layers, redraw
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.batches import Batch
from snellen.training.objectives import cross_entropy


class BoundaryShrink(TunedForgetter):
    """Train on with the forget set alone, where each image has the label of its nearest other class (BS).

    The remaining images are not seen, so a rate that is too high destroys the classifier.

    >>> BoundaryShrink().step
    0.1
    """

    name: ClassVar[str] = "boundary_shrink"

    learning_rate: float = Field(1e-3, gt=0, description="of SGD")
    step: float = Field(0.1, gt=0, le=1, description="of one sign step across the boundary, pixels in [0, 1]")

    def forgotten(self, network: PreparedNetwork, split: ForgetSplit, call: Forgetting) -> PreparedNetwork:
        """Cross-entropy on the forget set, with labels that the trained network gives beyond its boundary."""
        trained = copy.deepcopy(network).eval().requires_grad_(False)

        def objective(model: nn.Module, batch: Batch) -> Tensor:
            others = nearest_other_class(trained, batch.images, batch.targets, self.step)
            return cross_entropy(model(batch.images), others)

        return self.trained_on(network, split.forgotten, call, objective)


def nearest_other_class(network: nn.Module, images: Tensor, labels: Tensor, step: float) -> Tensor:
    """The likeliest class but the own one after a sign step that raises the loss, int64 (n,).

    Args:
        network: images → scores (n, k), k ≥ 2.
        images: float (n, 3, h, w) in [0, 1].
        labels: int64 (n,).
        step: ε of the step; what comes stays in [0, 1].
    """
    moved = images.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(functional.cross_entropy(network(moved), labels, reduction="sum"), moved)
    with torch.no_grad():
        scores = network((images + step * gradient.sign()).clamp(0, 1))
    return scores.scatter(1, labels[:, None], float("-inf")).argmax(1)


class BoundaryExpanding(TunedForgetter):
    """Train on with the forget set alone, as images of a further class, which is then taken away (BE).

    The remaining images are not seen, so a rate that is too high destroys the classifier.

    >>> BoundaryExpanding().learning_rate
    0.001
    """

    name: ClassVar[str] = "boundary_expanding"

    learning_rate: float = Field(1e-3, gt=0, description="of SGD")

    def forgotten(self, network: PreparedNetwork, split: ForgetSplit, call: Forgetting) -> PreparedNetwork:
        """Widen the last layer by a class, train the forget set into it, and cut it off.

        Raises:
            UnsupportedError: the last layer is not linear.
        """
        images = split.images.read(torch.arange(1))[0].to(network.mean.device)
        ((name, last),) = last_layers(network, to_unit(images) if images.dtype == torch.uint8 else images, 1)
        if not isinstance(last, nn.Linear):
            raise UnsupportedError(
                f"boundary expanding adds a class to a linear last layer, and {name} is a {type(last).__name__}; "
                f"use boundary-shrink"
            )
        classes = last.out_features
        wide = nn.Linear(last.in_features, classes + 1, last.bias is not None).to(last.weight)
        redraw([wide], call.rng)
        _copy_rows(last, wide, classes)
        _put(network, name, wide)

        def objective(model: nn.Module, batch: Batch) -> Tensor:
            return cross_entropy(model(batch.images), torch.full_like(batch.targets, classes))

        self.trained_on(network, split.forgotten, call, objective)
        _copy_rows(wide, last, classes)
        _put(network, name, last)
        return network


def _put(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, layer)


def _copy_rows(of: nn.Linear, into: nn.Linear, classes: int) -> None:
    with torch.no_grad():
        into.weight[:classes] = of.weight[:classes]
        if of.bias is not None:
            into.bias[:classes] = of.bias[:classes]
