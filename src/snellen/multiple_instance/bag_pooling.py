"""What the instances of a bag say together: pooled probabilities, and the loss of a bag."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from snellen.errors import InputError

Pooling = Literal["mean", "max", "log_sum_exp"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

#: r of log-sum-exp pooling (Pinheiro and Collobert 2015): towards 0 it is the mean, towards infinity the maximum.
SHARPNESS = 10.0


def pooled(probabilities: Tensor, of_bag: Tensor, bags: int, how: Pooling) -> Tensor:
    """Probability of each bag, (b,), of the probabilities of its instances; bags may have any lengths above 0.

    ``log_sum_exp`` is 1/r · log(1/n Σ exp(r p)), which lies between mean and maximum.

    >>> pooled(torch.tensor([0.0, 1.0, 0.5]), torch.tensor([0, 0, 1]), 2, "mean").tolist()
    [0.5, 0.5]

    Args:
        probabilities: of the positive class, (n,).
        of_bag: bag of each instance, int64 (n,).
        bags: b, how many there are.
        how: mean, max or log_sum_exp.

    Raises:
        InputError: a bag without instances.
    """
    counts = torch.bincount(of_bag, minlength=bags)
    if bool((counts == 0).any()):
        raise InputError(f"bag {int((counts == 0).nonzero()[0])} of {bags} has no instances: nothing can be pooled")
    zeros = torch.zeros(bags, dtype=probabilities.dtype, device=probabilities.device)
    if how == "max":
        return zeros.scatter_reduce(0, of_bag, probabilities, "amax", include_self=False)
    values = probabilities if how == "mean" else (SHARPNESS * probabilities).exp()
    means = zeros.index_add(0, of_bag, values) / counts
    return means if how == "mean" else means.log() / SHARPNESS


def bag_cross_entropy(logits: Tensor, of_bag: Tensor, bag_labels: Tensor) -> Tensor:
    """Cross-entropy of each bag's label under the mean of its instances' probabilities, (b,), in nats.

    Args:
        logits: of the instances, (n, 2).
        of_bag: bag of each, int64 (n,), all of 0 … b − 1.
        bag_labels: 0 or 1, int64 (b,).
    """
    # log(1/n Σ p) of both classes, without leaving logarithms: a bag that is surely wrong has a finite loss.
    logs = logits.log_softmax(1)
    count = len(bag_labels)
    highest = torch.full((count, 2), -torch.inf, dtype=logs.dtype, device=logs.device)
    highest = highest.scatter_reduce(0, of_bag[:, None].expand(-1, 2), logs.detach(), "amax")
    sums = torch.zeros_like(highest).index_add(0, of_bag, (logs - highest[of_bag]).exp())
    sizes = torch.bincount(of_bag, minlength=count)
    means = highest + sums.log() - sizes.log()[:, None]
    return -means.gather(1, bag_labels[:, None])[:, 0]
