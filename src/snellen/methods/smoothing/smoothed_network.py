"""A classifier that is meant to be smoothed: its networks, the noise they were trained on, and what each is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError, unknown_name
from snellen.methods.smoothing.halves import HALVES, VIEWS, View, pick
from snellen.models.classifiers.artifact_models import build_network


@dataclass(frozen=True)
class NoiseRecord:
    """Under which noise networks were trained, and are to be asked.

    Args:
        sigma: standard deviation of the noise, in [0, 1] pixel units.
        view: how a network is shown its half of the image; None for one network of whole images.
        grey: whether the noise is the same in all three channels, for grey images.
    """

    sigma: float
    view: View | None = None
    grey: bool = False


class SmoothedNetwork(nn.Module):
    """One network of whole images, or two of one half each.

    Called like any classifier it decides without noise: with one network by its scores, with two by the logarithm of
    their mean probabilities. That is not the smoothed classifier, for which a certificate asks :meth:`branch`.

    Args:
        network: record of the architecture that each network has.
        sigma, view, grey: see :class:`NoiseRecord`.
    """

    def __init__(
        self, *, network: Mapping[str, Any], sigma: float, view: View | None = None, grey: bool = False
    ) -> None:
        super().__init__()
        if not sigma > 0:
            raise InputError(f"a smoothed network needs noise of sigma > 0, got {sigma}")
        if view is not None and view not in VIEWS:
            raise unknown_name("view of a half", view, VIEWS)
        self.record = NoiseRecord(sigma, view, grey)
        count = 1 if view is None else len(HALVES)
        self.networks = nn.ModuleList(build_network(network, "a smoothed network") for _ in range(count))

    def forward(self, images: Tensor, branch: int | None = None) -> Tensor:
        """Scores (n, k) of images (n, 3, h, w): of one branch for what it is shown, or of all without noise."""
        if branch is not None:
            scores: Tensor = self.networks[branch](images)
            return scores
        if self.record.view is None:
            return self.forward(images, 0)
        view = VIEWS[self.record.view]
        each = [self.forward(view(pick(images, half), half), half).log_softmax(1) for half in HALVES]
        return torch.stack(each).logsumexp(0) - torch.tensor(float(len(HALVES))).log()


def architecture(network: Mapping[str, Any], noise: NoiseRecord) -> dict[str, Any]:
    """The record in a card, from which the networks are built again."""
    return {
        "name": "smoothed",
        "network": dict(network),
        "sigma": noise.sigma,
        "view": noise.view,
        "grey": noise.grey,
    }


def noise_of(module: object) -> NoiseRecord | None:
    """What a network says of the noise it was trained on; None for one that says nothing."""
    return module.record if isinstance(module, SmoothedNetwork) else None
