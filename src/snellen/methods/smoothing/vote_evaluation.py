"""Soft votes as what an attack climbs: the loop of :mod:`snellen.methods.attacks.perturbation` then searches against
the majority.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.smoothing.branches import Branch
from snellen.methods.smoothing.votes import CHUNK, soft_votes

#: (candidates (n, 3, h, w), labels (n,), positions (n,)) → scores (n, k) and values (n,).
VoteEvaluation = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def vote_evaluation(
    branches: Sequence[Branch],
    *,
    sigma: float,
    samples: int,
    rng: Randomness,
    fresh: bool = True,
    chunk: int = CHUNK,
    watch: Callable[[Tensor, Tensor], None] | None = None,
) -> VoteEvaluation:
    """−log of the label's mean probability over all noisy copies of all branches: SmoothAdv's objective.

    Salman et al., "Provably robust deep learning via adversarially trained smoothed classifiers", NeurIPS 2019, arXiv
    1906.04584, equation 3. Scores are the logarithms of these means, so that the largest is the majority's.

    Args:
        branches: who votes.
        sigma: standard deviation of the noise.
        samples: noisy copies in each branch.
        rng: bound to the images of the attack.
        fresh: new noise at every look; else the same throughout, that of the stream "look 0".
        chunk: noisy images in one pass.
        watch: is given the values of every look, and the positions that they are of.
    """
    looks = 0

    def evaluate(candidates: Tensor, labels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal looks
        own, stream = rng[positions.cpu()], f"look {looks}"
        looks += fresh
        each = []
        for branch in branches:
            votes = soft_votes(branch, candidates, sigma=sigma, samples=samples, rng=own, stream=stream, chunk=chunk)
            each.append(votes)
        logarithms = torch.stack(each).mean(0).clamp_min(1e-20).log()
        values = F.nll_loss(logarithms, labels, reduction="none")
        if watch is not None:
            watch(values.detach(), positions)
        return logarithms, values

    return evaluate


def length_in(branches: Sequence[Branch], epsilon: float) -> float:
    """The l2 length over all three channels of what is ``epsilon`` long in the measure of a certificate.

    Where the noise is grey, radii are of one channel, and a change that is the same in three is longer by √3.
    """
    return epsilon * 3**0.5 if branches[0].grey else epsilon
