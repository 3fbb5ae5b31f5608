"""Which training images a generator replicates: the cosine similarity of each generation to its nearest training image.

Pan et al. 2024, section 6, after Somepalli et al. 2023: generations whose nearest training image is very similar are
replicas of it. Poisoning replicated images instead of drawn ones, at the same rate, shows the link between the two:
``swapped(choice, replication(generated, training).ranked(), labels)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError

#: Rows of similarities made at a time.
ROWS = 1000


@dataclass(frozen=True, eq=False)
class Replication:
    """The nearest training image of each generation.

    Attributes:
        nearest: int64 (m,), position of the training image.
        similarity: float64 (m,) in [−1, 1].
        training: how many training images there are.
    """

    nearest: NDArray[np.int64]
    similarity: NDArray[np.float64]
    training: int

    def share(self, above: float) -> float:
        """Share of generations that are more similar than this to a training image."""
        return float((self.similarity > above).mean())

    def ranked(self) -> list[int]:
        """Training images that are the nearest of some generation, the most similar first, each once."""
        order = np.argsort(-self.similarity, kind="stable")
        return list(dict.fromkeys(self.nearest[order].tolist()))


def replication(generated: Tensor, training: Tensor) -> Replication:
    """Compare generations with training images, in features of any network.

    >>> found = replication(torch.tensor([[1.0, 0.1], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [3.0, 0.0]]))
    >>> found.nearest.tolist(), found.ranked(), found.share(0.999)
    ([1, 0], [0, 1], 0.5)

    Args:
        generated: features (m, d), finite and not zero.
        training: features (n, d), likewise.

    Raises:
        InputError: features that do not fit, are not finite, or are zero.
    """
    if generated.ndim != 2 or training.ndim != 2 or generated.shape[1] != training.shape[1]:
        raise InputError(f"features are (m, d) and (n, d); got {tuple(generated.shape)} and {tuple(training.shape)}")
    if not len(generated) or not len(training):
        raise InputError("replication compares generations with training images; one of the two is empty")
    own, other = (one.double() / one.double().norm(dim=1, keepdim=True) for one in (generated, training))
    if not bool(torch.isfinite(own).all() and torch.isfinite(other).all()):
        raise InputError("a cosine needs finite features that are not zero")
    found = [(part @ other.T).max(1) for part in own.split(ROWS)]
    return Replication(
        nearest=torch.cat([one.indices for one in found]).cpu().numpy(),
        similarity=torch.cat([one.values for one in found]).cpu().numpy(),
        training=len(training),
    )
