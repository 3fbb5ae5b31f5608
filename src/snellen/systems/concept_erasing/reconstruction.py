"""What a sparse autoencoder is trained towards: its states again, and the rest of them by features that are dead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from snellen.systems.concept_erasing.autoencoder import SparseAutoencoder
from snellen.training.batches import Batch


@dataclass(frozen=True)
class Reconstruction:
    """The objective: ``scale`` · mean (ê − e)² + ``dead_share`` · the loss of dead features, of each state.

    Dead features (Gao et al. 2024, appendix A.2) explain what is left, e − ê, with their largest activations; the
    squared error of that is divided by the variance of what is left, and counts 0 where that is 0.

    Args:
        scale: one over the variance of the states.
        dead_after: states without activation after which a feature is dead: tokens, not steps and not prompts.
        dead_active: activations of dead features that explain the rest of one state.
        dead_share: of their loss.
    """

    scale: float
    dead_after: int
    dead_active: int = 256
    dead_share: float = 1 / 32

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (m,) of a batch whose images are states (m, d)."""
        again, _ = model(batch.images)
        autoencoder = cast(SparseAutoencoder, getattr(model, "module", model))
        return self.scale * (again - batch.images).square().mean(1) + self.dead_share * self.of_dead(
            autoencoder, batch.images, again
        )

    def of_dead(self, autoencoder: SparseAutoencoder, states: Tensor, again: Tensor) -> Tensor:
        """The loss of dead features, (m,); 0 where there are none."""
        dead = autoencoder.dead(self.dead_after)
        if not len(dead):
            return states.new_zeros(len(states))
        rest = (states - again).detach()
        left = rest.var(unbiased=False)
        if float(left) == 0:
            # Tested before the division: a gradient through 0 / 0 is NaN, even if the loss is replaced afterwards.
            return states.new_zeros(len(states))
        explained = autoencoder.explain_rest(states, dead, self.dead_active)
        return (explained - rest).square().mean(1) / left


def explained_variance(states: Tensor, again: Tensor) -> float:
    """One minus the squared error over the variance of states (m, d).

    >>> import torch
    >>> explained_variance(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [2.0]]))
    1.0
    """
    left = (states - again).detach().double().square().sum()
    return 1 - float(left / (states - states.mean(0)).double().square().sum())
