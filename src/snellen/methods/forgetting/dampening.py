"""Selective synaptic dampening: weights that matter for the forget set alone are made smaller; nothing is trained.

Foster, Schoepf and Brintrup, "Fast machine unlearning without retraining through selective synaptic dampening", AAAI
2024, arXiv 2308.07707, equations 4 to 6: with importances F over all training images and F_f over the forget set, where
F_f > α F a weight θ becomes min(λ F / F_f, 1) θ. An importance is the mean squared gradient of batches, as published.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.errors import ModelError
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Silent
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetter, Forgetting
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.objectives import cross_entropy
from snellen.training.parts import Labelled

#: Keeps a weight that nothing depends on from a division by 0.
_NOTHING = 1e-30


class SelectiveDampening(Forgetter):
    """Shrink weights that are much more important for the forget set than for all images (SSD).

    >>> SelectiveDampening().selection
    10.0
    """

    name: ClassVar[str] = "selective_dampening"

    selection: float = Field(10.0, gt=0, description="how much more important a weight must be to be dampened (α)")
    dampening: float = Field(1.0, gt=0, description="strength: the share that remains is this times F / F_f (λ)")
    batch_size: int = Field(64, ge=1, description="images of one gradient")

    def forgotten(self, network: PreparedNetwork, split: ForgetSplit, call: Forgetting) -> PreparedNetwork:
        """Measure both importances, and dampen."""
        whole = self.importances(network, split.images, call)
        own = self.importances(network, split.forgotten, call)
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if name in whole:
                    weight.mul_(kept_share(whole[name], own[name], self.selection, self.dampening))
        return network

    def importances(self, network: PreparedNetwork, images: Labelled, call: Forgetting) -> dict[str, Tensor]:
        """Mean squared gradient of each weight over batches, by the name of the parameter."""
        network.eval()
        weights = {name: one for name, one in network.named_parameters() if one.requires_grad}
        sums = {name: torch.zeros_like(one) for name, one in weights.items()}
        parts, listener = torch.arange(len(images)).split(self.batch_size), call.progress or Silent()
        listener.begin("importances", len(parts))
        for rows in parts:
            pixels, targets = (one.to(network.mean.device) for one in images.read(rows))
            shown = to_unit(pixels) if pixels.dtype == torch.uint8 else pixels
            loss = cross_entropy(network(shown), targets).mean()
            for name, one in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
                sums[name] += one.detach() ** 2 / len(parts)
            listener.advance("importances", 1)
        listener.finish("importances")
        if not all(bool(one.isfinite().all()) for one in sums.values()):
            raise ModelError("gradients of the network are not finite, so no importance of its weights is known")
        return sums


def kept_share(whole: Tensor, own: Tensor, selection: float, dampening: float) -> Tensor:
    """What remains of each weight, in (0, 1]: equation 6 where the importance for the forget set stands out, else 1.

    >>> kept_share(torch.tensor([1.0, 1.0]), torch.tensor([20.0, 5.0]), 10.0, 1.0).tolist()
    [0.05000000074505806, 1.0]
    """
    share = (dampening * whole / own.clamp_min(_NOTHING)).clamp_max(1.0)
    return torch.where(own > selection * whole, share, torch.ones_like(share))
