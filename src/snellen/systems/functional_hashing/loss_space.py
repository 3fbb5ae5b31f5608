"""The space of loss functions, hashed by their slope at 64 probe points: all that a training sees of a loss.

The loss of an image is the sum of the formula over the classes. A linear softmax classifier is trained on it by plain
stochastic gradient descent in float64, and its validation accuracy is the fitness.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import ModelError
from snellen.core.randomness import derive_seed
from snellen.systems.functional_hashing import formulas
from snellen.systems.functional_hashing.formulas import Formula
from snellen.systems.functional_hashing.function_cache import Evaluation

#: Probe points, half with y = 1.
PROBE_POINTS = 64


def slopes(loss: Callable[[Tensor, Tensor], Tensor], seed: int, points: int = PROBE_POINTS) -> list[float]:
    """Slopes d loss / d p at fixed points, of any function of y and p: a formula, or a function of Python.

    >>> slopes(lambda y, p: 2 * p, 0, 2)
    [2.0, 2.0]

    Args:
        loss: takes y and p, float64 (m,), and gives as many values.
        seed: of the points; p is uniform in (0.02, 0.98).
        points: m.
    """
    draws = torch.Generator().manual_seed(derive_seed(seed, "loss probe"))
    p = (0.02 + 0.96 * torch.rand(points, generator=draws, dtype=torch.float64)).requires_grad_()
    y = (torch.arange(points) % 2).double()
    with torch.enable_grad():
        total = loss(y, p).sum()
        if not total.requires_grad:
            return [0.0] * points
        (slope,) = torch.autograd.grad(total, p, allow_unused=True)
    return [0.0] * points if slope is None else slope.tolist()


@dataclass(frozen=True, eq=False)
class LossSpace:
    """Formulas; see :class:`~snellen.systems.functional_hashing.space.Space`.

    Args:
        train, val: vectors (n, d) float64 and classes (n,) int64.
        classes: number of classes.
        epochs: passes over the training vectors.
        learning_rate: of plain gradient descent, batches of 64.
        seed: of the order.
    """

    train: tuple[Tensor, Tensor]
    val: tuple[Tensor, Tensor]
    classes: int
    epochs: int = 2
    learning_rate: float = 0.5
    seed: int = 0
    worst: float = 0.0

    def sample(self, rng: random.Random) -> Formula:
        """A random formula in which p occurs."""
        return formulas.sample(rng)

    def mutate(self, candidate: Formula, rng: random.Random) -> Formula:
        """A formula with one part replaced."""
        return formulas.mutate(candidate, rng)

    def structure(self, candidate: Formula) -> str:
        """The formula with commuted arguments in one order."""
        return str(candidate.sorted())

    def encode(self, candidate: Formula) -> str:
        """The formula as text."""
        return str(candidate)

    def probe(self, candidate: Formula, seed: int) -> Sequence[float]:
        """Slopes at the probe points."""
        return slopes(candidate.at, seed)

    def evaluate(self, candidate: Formula, run: int) -> Evaluation:
        """Validation accuracy of a linear classifier that was trained with this loss.

        Raises:
            ModelError: weights that are not finite.
        """
        started = time.perf_counter()
        vectors, targets = self.train
        weights = torch.zeros(vectors.shape[1], self.classes, dtype=torch.float64, requires_grad=True)
        shift = torch.zeros(self.classes, dtype=torch.float64, requires_grad=True)
        marks = torch.nn.functional.one_hot(targets, self.classes).double()
        draws = torch.Generator().manual_seed(derive_seed(self.seed, "loss order", run))
        with torch.enable_grad():
            for _ in range(self.epochs):
                for rows in torch.randperm(len(vectors), generator=draws).split(64):
                    p = torch.softmax(vectors[rows] @ weights + shift, 1)
                    loss = candidate.at(marks[rows], p).sum(1).mean()
                    if not loss.requires_grad:  # a formula without p: nothing is learnt
                        continue
                    found = torch.autograd.grad(loss, (weights, shift), allow_unused=True)
                    with torch.no_grad():
                        for parameter, gradient in zip((weights, shift), found, strict=True):
                            if gradient is not None:
                                parameter -= self.learning_rate * gradient
        if not bool(torch.isfinite(weights).all()):
            raise ModelError("the weights are not finite")
        scores = self.val[0] @ weights.detach() + shift.detach()
        valid = float((scores.argmax(1) == self.val[1]).double().mean())
        return Evaluation(valid, seconds=time.perf_counter() - started)
