"""Integrated gradients: the gradient on the way from a baseline to the image, times the way.

Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017, arXiv 1703.01365, equation 1:
(x − x') · ∫ ∂f(x' + α (x − x'))/∂x dα over α from 0 to 1. The integral is a sum of few points, so that completeness,
Σ = f(x) − f(x'), holds up to an error; it is measured and reported.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.method import Need
from snellen.core.randomness import Randomness
from snellen.methods.explanations.attributed import Attributed
from snellen.methods.explanations.by_map import MapExplanation
from snellen.methods.explanations.filling import FillName, filling
from snellen.methods.explanations.gradient import gradients_at
from snellen.methods.explanations.score import Explained, TargetScore

#: Where the path is evaluated. ``gauss-legendre``: exact for polynomials of degree 2 · steps − 1; ``midpoint``: evenly.
Rule = Literal["gauss-legendre", "midpoint"]


def integrated_gradients(
    score: TargetScore, images: Tensor, *, baseline: Tensor, steps: int = 50, rule: Rule = "gauss-legendre"
) -> Attributed:
    """Integrated gradients of prepared images: maps (n, 3, h, w) in score units.

    Points of several images share a pass. ``gap`` is what the sum exceeds f(x) − f(baseline) by.

    Args:
        score: the explained score, of all n images.
        images: (n, 3, h, w) in [0, 1].
        baseline: where the path begins, of the same shape.
        steps: points on the path.
        rule: see :data:`Rule`.

    Raises:
        UnsupportedError: the classifier gives no gradients.
        InputError: no steps, or a baseline of another shape.
    """
    if steps < 1 or baseline.shape != images.shape:
        raise InputError(
            f"the path needs at least one step and a baseline for each image, {tuple(images.shape)}; got steps={steps} "
            f"and {tuple(baseline.shape)}"
        )
    baseline = baseline.to(images)
    points, weights = (torch.from_numpy(numbers).float().to(images.device) for numbers in _quadrature(steps, rule))
    way = images - baseline
    total = torch.zeros_like(images)
    on_the_way = torch.zeros(len(images), steps, dtype=torch.float64)
    with score.classifier.counting() as spent:
        for pair in torch.arange(len(images) * steps).split(score.chunk):
            if not len(pair):
                continue
            rows, step = pair // steps, (pair % steps).to(images.device)
            here = rows.to(images.device)
            values, slopes = gradients_at(score, baseline[here] + points[step].view(-1, 1, 1, 1) * way[here], rows)
            on_the_way.view(-1)[pair] = values.cpu().double()
            total.index_add_(0, here, slopes * weights[step].view(-1, 1, 1, 1))
        ends = score.values(torch.cat([images, baseline]), torch.arange(2 * len(images)) % max(len(images), 1))
    value, base = ends[: len(images)], ends[len(images) :]
    scores = torch.cat([on_the_way, value[:, None], base[:, None]], 1)
    extremes = (scores.amin(1), scores.amax(1))
    return Attributed.of(total * way, value, base=base, spent=spent(), extremes=extremes)


def _quadrature(steps: int, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """Points in (0, 1) and weights that sum to 1, float64 (steps,) each."""
    if rule == "midpoint":
        return (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)
    points, weights = np.polynomial.legendre.leggauss(steps)
    return (points + 1) / 2, weights / 2


class IntegratedGradients(MapExplanation):
    """Contributions of pixels on the straight way from a baseline: they add up to the change of the score.

    A pixel that looks like the baseline gets nothing, however much it matters.

    >>> from torch import nn
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)), class_names=["a", "b"])
    >>> explained = IntegratedGradients().explain(classifier, torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))
    >>> bool((explained.figures["completeness_gap"] < 1e-5).all())
    True
    """

    name: ClassVar[str] = "integrated_gradients"
    needs: ClassVar[frozenset[Need]] = frozenset({"scores", "gradients"})

    of: Explained = Field("score", description="what is explained: the classifier's score, or its probability")
    steps: int = Field(50, ge=1, description="points on the way from the baseline to the image")
    rule: Rule = Field("gauss-legendre", description="where these points lie")
    baseline: FillName = Field("black", description="where the way begins: the image with all of it filled like this")

    def attribute(
        self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness | None = None
    ) -> Attributed:
        """``steps`` gradients an image; see :meth:`MapExplanation.attribute`."""
        nothing = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool)
        baseline = filling(self.baseline, images)(torch.arange(len(images)), nothing)
        score = self._score(classifier, targets)
        return integrated_gradients(score, images, baseline=baseline, steps=self.steps, rule=self.rule)
