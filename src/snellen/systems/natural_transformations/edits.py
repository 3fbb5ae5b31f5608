"""Training against edits of the training images, after NaTra; the objective is a reconstruction from the abstract.

    min over θ of E[ CE(f(x), y) + β · max over k, |t| ≤ ε of CE(f(G2(F(x; k, t))), y) ]

The inner maximum is over bounded latent coefficients. ``random`` draws one direction and one t, or several directions
with a t each; ``worst_of_q`` draws q such edits and keeps the highest loss; ``pga`` takes projected steps of the
gradient's sign on the coefficients of all directions, through the generator. An edit keeps the label of its source
image, and original and edited images pass the network in one batch, so that BatchNorm sees both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.in_training import lent
from snellen.systems.natural_transformations.directions import Directions, Scores
from snellen.systems.natural_transformations.inversion import Codes, SplitGenerator, render
from snellen.training.batches import Batch
from snellen.training.objectives import Objective, cross_entropy
from snellen.training.transforms import BatchTransform

Search = Literal["worst_of_q", "random", "pga"]

#: Share of a training over which ε rises from 0 to its maximum.
RISING = 1 / 3


class Extra(NamedTuple):
    """Further images of a step.

    Args:
        images: (m, 3, h, w) in [0, 1], without gradients.
        rows: int64 (m,): which image of the batch each belongs to.
        labels: (m,), of images that are no edits; None: those of the source images.
    """

    images: Tensor
    rows: Tensor
    labels: Tensor | None = None


#: (model, batch, share of ε that is reached, in [0, 1]) → further images.
Supply = Callable[[nn.Module, Batch, float], Extra]


@dataclass(frozen=True, eq=False)
class EditedImages:
    """Edits of training images, searched against the classifier as it is.

    Args:
        generator: cut at a layer.
        codes: of the training images that are edited.
        place: int64 (n,), for each training image its row in the codes, −1 for those that are not edited.
        directions: K of them.
        epsilon: largest coefficient, in standard deviations.
        search: how an edit is chosen.
        draws: q of ``worst_of_q``.
        together: directions along which a drawn edit moves; all, where there are fewer.
        steps: of ``pga``, each of 2.5 · ε / steps.
    """

    generator: SplitGenerator
    codes: Codes
    place: Tensor
    directions: Directions
    epsilon: float
    search: Search = "worst_of_q"
    draws: int = 4
    steps: int = 4
    together: int = 1

    def __post_init__(self) -> None:
        if not len(self.codes):
            raise InputError("no training image is reconstructed well enough to be edited; train the generator longer")

    def images(self, rows: Tensor, coefficients: Tensor) -> Tensor:
        """G2(F(x; c)) of rows of the codes, int64 (m,), and coefficients (m, K): (m, 3, h, w) in [0, 1]."""
        shift = self.directions.shift(coefficients.to(self.codes.values))
        return render(self.generator, self.codes[rows.to(self.codes.values.device)], shift)

    def __call__(self, model: nn.Module, batch: Batch, reached: float) -> Extra:
        """Edits of the images of a batch that have codes; the model's modes and gradients stay as they are."""
        rows = (self.place[batch.positions] >= 0).nonzero().flatten()
        if not len(rows):
            return Extra(batch.images[:0], rows)
        codes, labels = self.place[batch.positions[rows]], batch.targets[rows.to(batch.targets.device)]
        with lent(model) as still:
            still.requires_grad_(False)
            made = self.searched(still, codes, labels, batch.rng[rows].child("edits"), self.epsilon * reached)
        return Extra(made.to(batch.images), rows)

    def searched(self, model: Scores, codes: Tensor, labels: Tensor, rng: Randomness, epsilon: float) -> Tensor:
        """The edits that the search keeps, (m, 3, h, w): coefficients stay within ±epsilon."""
        if self.search == "pga":
            return self._climbed(model, codes, labels, rng, epsilon)
        draws = self.draws if self.search == "worst_of_q" else 1
        with torch.no_grad():
            drawn = torch.stack([self.drawn(rng.child("draw", number), epsilon) for number in range(draws)])
            made = self.images(codes.repeat(draws), drawn.flatten(0, 1))
            if draws == 1:
                return made
            # The generator may stand on another device than the network.
            scores = model(made.to(labels.device)).float()
            losses = cross_entropy(scores, labels.repeat(draws)).unflatten(0, (draws, len(codes)))
            chosen = losses.argmax(0).to(made.device)
            kept = made.unflatten(0, (draws, len(codes)))
            return kept[chosen, torch.arange(len(codes), device=made.device)]

    def drawn(self, rng: Randomness, epsilon: float) -> Tensor:
        """``together`` directions, each with a t in [−epsilon, epsilon], for each example: coefficients (m, K)."""
        count = len(self.directions)
        some, like = min(self.together, count), self.codes.values
        which = rng.uniform("direction", (count,), like=like).argsort(1)[:, :some]
        sizes = (2 * rng.uniform("size", (some,), like=like) - 1) * epsilon
        return like.new_zeros(len(which), count).scatter(1, which, sizes.to(like))

    def _climbed(self, model: Scores, codes: Tensor, labels: Tensor, rng: Randomness, epsilon: float) -> Tensor:
        like = self.codes.values
        coefficients = (2 * rng.uniform("start", (len(self.directions),), like=like) - 1) * epsilon
        with torch.enable_grad():
            for _ in range(self.steps):
                free = coefficients.detach().requires_grad_(True)
                losses = cross_entropy(model(self.images(codes, free).to(labels.device)).float(), labels)
                slope = torch.autograd.grad(losses.sum(), free)[0]
                coefficients = (free + 2.5 * epsilon / self.steps * slope.sign()).detach().clamp(-epsilon, epsilon)
        with torch.no_grad():
            return self.images(codes, coefficients)


def risen(epoch: int, step: int, *, epochs: int, steps: int) -> float:
    """Share of ε that is reached at a step: 0 at the first, 1 after a third of the training.

    >>> [round(risen(epoch, 0, epochs=6, steps=10), 2) for epoch in (1, 2, 3, 6)]
    [0.0, 0.5, 1.0, 1.0]

    Args:
        epoch: from 1.
        step: within the epoch, from 0.
        epochs: of the training.
        steps: of an epoch.
    """
    return min(((epoch - 1) * steps + step) / max(RISING * epochs * steps, 1.0), 1.0)


def with_extra(
    supply: Supply, *, beta: float, epochs: int, steps: int, transform: BatchTransform | None = None
) -> Objective:
    """Cross-entropy of a batch and β times that of further images, both in one forward pass.

    Args:
        supply: makes further images, which keep the labels of their source images unless it gives others.
        beta: their weight.
        epochs: of the training, for the course of ε.
        steps: of an epoch.
        transform: augmentation of the batch, done to further images too, with draws of their own.
    """

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        # The loop names the randomness of a step by its epoch and its number.
        reached = risen(batch.epoch, int(batch.rng.path[-1]), epochs=epochs, steps=steps)
        images, rows, other = supply(model, batch, reached)
        if not len(rows):
            return cross_entropy(model(batch.images), batch.targets)
        at = rows.to(batch.targets.device)
        labels = batch.targets[at] if other is None else other.to(at.device)
        if transform is not None:
            images, labels = transform(images, labels, batch.rng[rows].child("further images"))
        losses = cross_entropy(model(torch.cat([batch.images, images])), torch.cat([batch.targets, labels]))
        clean, further = losses.split([len(batch.images), len(images)])
        return clean.index_add(0, at, beta * further)

    return objective
