"""Integrated gradients: the gradient on the way from a baseline to the image, times the way.

Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017, arXiv 1703.01365, equation 1:
(x − x') · ∫ ∂f(x' + α (x − x'))/∂x dα over α from 0 to 1. The integral is a sum of few points, so that completeness,
Σ = f(x) − f(x'), holds up to an error; it is measured and told.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from snellen.attribution.attributed import Attributed
from snellen.attribution.gradients import gradients_at
from snellen.attribution.score import TargetScore
from snellen.errors import InputError

#: Where the path is looked at. ``gauss-legendre``: exact for polynomials of degree 2 · steps − 1; ``midpoint``: evenly.
Rule = Literal["gauss-legendre", "midpoint"]


def integrated_gradients(
    score: TargetScore, images: Tensor, *, baseline: Tensor, steps: int = 50, rule: Rule = "gauss-legendre"
) -> Attributed:
    """Integrated gradients of prepared images: maps (n, 3, h, w) in score units.

    Points of several images share a pass. ``gap`` is what the sum lacks of f(x) − f(baseline).

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
            on_the_way.view(-1)[pair] = values.double().cpu()
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
