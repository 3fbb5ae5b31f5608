"""One linear layer on standardised numbers: the head on concept scores, and the black-box probe on image vectors.

logits = W z + b, z_i = (x_i − mean_i) / deviation_i, with mean and deviation of the training images alone. W and b
minimise the mean cross-entropy + (penalty / 2) ‖W‖², by LBFGS on all images at once, in float64: a convex problem, so
nothing is drawn and no start matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError

#: Penalties that a head is chosen among, the strongest first.
PENALTIES: tuple[float, ...] = (0.1, 0.01, 1e-3, 1e-4, 1e-5)

#: Deviations below which a number is constant; it is left as it is.
_CONSTANT = 1e-6


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Numbers (n, m) → logits (n, k).

    Attributes:
        mean: (m,) of the training images.
        deviation: (m,) of them; 1 where the number is constant.
        weight: (k, m), of standardised numbers.
        bias: (k,).
    """

    mean: Tensor
    deviation: Tensor
    weight: Tensor
    bias: Tensor

    def standardised(self, numbers: Tensor) -> Tensor:
        """(n, m) → (n, m), float64."""
        return (numbers.double() - self.mean) / self.deviation

    def logits(self, numbers: Tensor) -> Tensor:
        """(n, m) → (n, k), float64."""
        return self.standardised(numbers) @ self.weight.T + self.bias

    def contributions(self, numbers: Tensor, targets: Tensor) -> Tensor:
        """What each number adds to the logit of each image's target: (n, m), (n,) → (n, m), float64.

        With the target's bias they add up to the logit.
        """
        return self.standardised(numbers) * self.weight[targets]

    def accuracy(self, numbers: Tensor, labels: Tensor) -> float:
        """Share of right decisions."""
        return float((self.logits(numbers).argmax(1) == labels).double().mean())


def standard_of(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the columns of training numbers (n, m), float64; a constant column has deviation 1."""
    wide = numbers.double()
    deviation = wide.std(0, correction=0)
    return wide.mean(0), torch.where(deviation > _CONSTANT, deviation, torch.ones_like(deviation))


def fit_linear_head(
    numbers: Tensor, labels: Tensor, class_count: int, *, penalty: float, offset: Tensor | None = None
) -> LinearHead:
    """Fit a head at one penalty.

    >>> head = fit_linear_head(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), 2, penalty=0.1)
    >>> head.logits(torch.tensor([[0.0], [1.0]])).argmax(1).tolist()
    [0, 1]

    Args:
        numbers: of the training images (n, m).
        labels: int64 (n,), in [0, k).
        class_count: k.
        penalty: of the weights, not of the bias; above 0.
        offset: logits (n, k) that are added before the loss: the head then learns what they leave over.

    Raises:
        InputError: other shapes, labels out of range, numbers that are not finite, or a penalty of 0 or less.
    """
    check_examples(numbers, labels, class_count)
    if not penalty > 0:
        raise InputError(f"the penalty of a head's weights is above 0; got {penalty}")
    mean, deviation = standard_of(numbers)
    standard = (numbers.double() - mean) / deviation
    weight = torch.zeros(class_count, numbers.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(class_count, dtype=torch.float64, requires_grad=True)
    before = 0.0 if offset is None else offset.detach().double()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=300, tolerance_grad=1e-7, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(standard @ weight.T + bias + before, labels) + penalty / 2 * weight.pow(2).sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return LinearHead(mean, deviation, weight.detach(), bias.detach())


@dataclass(frozen=True, eq=False)
class ChosenHead:
    """A head, the penalty that chose it, and its accuracy on the images that chose."""

    head: LinearHead
    penalty: float
    accuracy: float


def choose_linear_head(
    numbers: Tensor,
    labels: Tensor,
    val_numbers: Tensor,
    val_labels: Tensor,
    class_count: int,
    *,
    penalties: Sequence[float] = PENALTIES,
) -> ChosenHead:
    """Fit a head at each penalty and take the best on images held back, of equals the one with the strongest penalty.

    The images held back must look like those of the training: a choice by shifted ones would know the shift.

    Args:
        numbers: of the training images (n, m).
        labels: (n,).
        val_numbers: of the images held back (t, m).
        val_labels: (t,).
        class_count: k.
        penalties: to choose among.

    Raises:
        InputError: what :func:`fit_linear_head` refuses, or no penalties.
    """
    check_examples(val_numbers, val_labels, class_count)
    best: ChosenHead | None = None
    for penalty in sorted(penalties, reverse=True):
        head = fit_linear_head(numbers, labels, class_count, penalty=penalty)
        accuracy = head.accuracy(val_numbers, val_labels)
        if best is None or accuracy > best.accuracy:
            best = ChosenHead(head, penalty, accuracy)
    if best is None:
        raise InputError("there is no penalty to choose among")
    return best


def check_examples(numbers: Tensor, labels: Tensor, class_count: int) -> None:
    """Refuse what no head can be fitted to.

    Raises:
        InputError: as above; of numbers that are not finite, the first column is named.
    """
    if numbers.ndim != 2 or labels.shape != numbers.shape[:1] or not len(labels) or not numbers.shape[1]:
        raise InputError(
            f"a head is fitted to numbers (n, m) and labels (n,) of n ≥ 1 images; got {tuple(numbers.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= class_count:
        raise InputError(f"labels are numbers from 0 to {class_count - 1}; got {int(labels.min())}…{int(labels.max())}")
    wrong = (~torch.isfinite(numbers)).any(0).nonzero().flatten().tolist()
    if wrong:
        raise InputError(f"numbers of column {wrong[0]} are not finite (NaN or infinity) for some image")
