"""Attacking an average: over random transformations, or over the draws of a classifier that is random itself.

Athalye, Engstrom, Ilyas and Kwok, "Synthesizing robust adversarial examples", ICML 2018, arXiv 1707.07397, section 2.1:
climb E[objective(classifier(t(x)))] over transformations t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.objectives import Evaluation

#: (images (n, 3, h, w) in [0, 1], randomness of the n images) → images of the same shape in [0, 1], differentiably.
Transformation = Callable[[Tensor, Randomness], Tensor]


class _OverTransformations:
    """See :func:`over_transformations`."""

    def __init__(
        self, evaluate: Evaluation, transformation: Transformation | None, draws: int, rng: Randomness
    ) -> None:
        self.evaluate, self.transformation, self.rng = evaluate, transformation, rng
        self.calls_per_candidate = draws
        self.looks = torch.zeros(len(rng.ids or ()), dtype=torch.int64)

    def __call__(self, candidates: Tensor, labels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Mean scores (n, k) and mean values (n,) over the draws."""
        places = positions.cpu()
        looks = self.looks[places].tolist()
        self.looks[places] += 1
        chosen = self.rng[places]
        # New draws at every query of an image, independent of its batch: the query's number is part of the stream's
        # name.
        chosen = replace(
            chosen, ids=tuple(f"{name}, look {look}" for name, look in zip(chosen.ids or (), looks, strict=True))
        )
        totals: tuple[Tensor, Tensor] | None = None
        for draw in range(self.calls_per_candidate):
            moved = candidates
            if self.transformation is not None:
                moved = self.transformation(candidates, chosen.child("draw", draw))
            scores, values = self.evaluate(moved, labels, positions)
            totals = (scores, values) if totals is None else (totals[0] + scores, totals[1] + values)
        assert totals is not None
        return totals[0] / self.calls_per_candidate, totals[1] / self.calls_per_candidate


def over_transformations(
    evaluate: Evaluation, transformation: Transformation | None, *, draws: int, rng: Randomness
) -> Evaluation:
    """Average an evaluation over random transformations: mean scores judge, mean values are climbed.

    Every query of a candidate draws anew, on its own for each image, so that a batch gives what its images give alone.
    One such query costs ``draws`` passes, and ``draws`` gradients where it is differentiated; the graphs of all draws
    are held at once, ``draws`` times the memory of one.

    >>> from torch import nn
    >>> from snellen.methods.attacks.perturbation import cross_entropy, on_scores
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), class_names=["a", "b"])
    >>> def fade(images, rng):
    ...     return images * rng.uniform("fade", (1, 1, 1), 0.5, 1.0)
    >>> evaluate = over_transformations(on_scores(classifier, cross_entropy), fade, draws=8, rng=Randomness(0).bind(2))
    >>> scores, values = evaluate(torch.rand(2, 3, 2, 2), torch.tensor([0, 1]), torch.arange(2))
    >>> scores.shape, values.shape, classifier.spent.queries
    (torch.Size([2, 2]), torch.Size([2]), 16)

    Args:
        evaluate: what is averaged.
        transformation: drawn anew for each image and draw; None where the classifier is random itself.
        draws: at least 1.
        rng: bound to the images of the attacked batch.

    Raises:
        InputError: no draws, or randomness that is not bound.
    """
    _check(draws)
    if rng.ids is None:
        raise InputError("the randomness has no images: bind it with rng.for_examples(ids) or rng.bind(n)")
    return _OverTransformations(evaluate, transformation, draws, rng.child("transformations"))


def averaged(
    classifier: Classifier, transformation: Transformation | None, *, draws: int, rng: Randomness | None = None
) -> Classifier:
    """A classifier whose scores are the mean over the same ``draws`` transformations of every image, for any attack.

    The draws do not change from call to call (a sample average): with a transformation, the result is deterministic,
    so that line searches and bisections work. Attack it with few draws and judge with many others. Each image counts
    once here and ``draws`` times on ``classifier``.

    >>> from torch import nn
    >>> plain = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), class_names=["a", "b"])
    >>> def fade(images, rng):
    ...     return images * rng.uniform("fade", (1, 1, 1), 0.5, 1.0)
    >>> images = torch.rand(2, 3, 2, 2)
    >>> mean = averaged(plain, fade, draws=4)
    >>> torch.equal(mean(images), mean(images)), plain.spent.queries
    (True, 16)

    Args:
        classifier: what is averaged.
        transformation: None where the classifier is random itself; its randomness is then not ours.
        draws: at least 1.
        rng: of the transformations; the same ones for all images.

    Raises:
        InputError: no draws.
    """
    _check(draws)
    source = (rng or Randomness(0)).child("averaged")

    def model(images: Tensor) -> Tensor:
        total: Tensor | None = None
        same = source.for_examples(["every image"] * len(images))
        for draw in range(draws):
            moved = images if transformation is None else transformation(images, same.child("draw", draw))
            scores = classifier(moved)
            total = scores if total is None else total + scores
        assert total is not None
        return total / draws

    return Classifier(
        model,
        class_names=classifier.class_names,
        preparation=classifier.preparation,
        task=classifier.task,
        output=classifier.output,
        differentiable=classifier.differentiable,
        name=f"{classifier.name} averaged over {draws} draws",
        notes=(*classifier.notes, f"scores are means over {draws} draws"),
        device=classifier.device,
    )


def _check(draws: int) -> None:
    if draws < 1:
        raise InputError(f"an average needs at least 1 draw, got {draws}")
