"""All images of a neighbourhood on a grid, and what a Lipschitz bound makes of them.

Wicker, Huang and Kwiatkowska, TACAS 2018, section 5, re-derived. On the grid of images alpha + tau z, z integers, every
image of the box is within half a cell's diagonal, (p tau^k)^(1/k) / 2 over p values (tau / 2 for L-infinity), of a grid
image, and of that image cut to the box, too. Let each score change by at most its L_c per unit of distance. Then a grid
image whose label leads every other class c by more than (L_label + L_c) times half a diagonal vouches for its whole
cell; and if all grid images within epsilon *plus* half a diagonal do, no image within epsilon is adversarial.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.outcomes import Certified

CellNorm = Literal["l1", "l2", "linf"]

_ORDERS: dict[CellNorm, float] = {"l1": 1.0, "l2": 2.0, "linf": math.inf}
#: Grid images in one call of the classifier.
_BATCH = 512


@dataclass(frozen=True, eq=False)
class GridVerdict:
    """What the grid around one image says.

    Attributes:
        norm: of the neighbourhood and of the Lipschitz bounds.
        epsilon: its radius, in [0, 1] pixel units of the norm.
        looked_at: grid images that the classifier scored.
        exhausted: whether these are all.
        found: the nearest adversarial grid image within epsilon, (3, h, w), or None.
        severity: its distance; infinite where there is none.
        slack: least lead over what the bound requires, over all grid images; negative where the bound does not suffice,
            −infinity where no bound was given.
        proven: exhausted, nothing found, and slack positive.
        statement: all of that in words, with norm and assumption.
    """

    norm: CellNorm
    epsilon: float
    looked_at: int
    exhausted: bool
    found: Tensor | None
    severity: float
    slack: float
    proven: bool
    statement: str

    def certified(self, label: int, classes: int) -> Certified:
        """The same as the result of a certification of one image; it abstains where nothing is proven."""
        return Certified(
            prediction=torch.tensor([label if self.proven else -1]),
            radius=torch.tensor([self.epsilon if self.proven else 0.0]),
            confidence=1.0,
            assumptions=(self.statement,),
            votes=torch.zeros(1, classes, dtype=torch.int64),
        )


def half_diagonal(values: int, tau: float, norm: CellNorm) -> float:
    """Largest distance to the nearest grid image: half of (values · tau^k)^(1/k), or of tau.

    >>> half_diagonal(16, 0.5, "l2"), half_diagonal(16, 0.5, "linf"), half_diagonal(16, 0.5, "l1")
    (1.0, 0.25, 4.0)
    """
    if norm == "linf":
        return tau / 2
    order = _ORDERS[norm]
    return float((values * tau**order) ** (1 / order) / 2)


def lipschitz_verdict(
    classifier: Classifier,
    image: Tensor,
    label: int,
    *,
    norm: CellNorm,
    epsilon: float,
    tau: float,
    lipschitz: float | Sequence[float] | None,
    most: int = 100_000,
) -> GridVerdict:
    """Score every grid image around one image, and judge whether that proves anything. For tiny images only.

    Args:
        classifier: its scores (as they are) are what the bounds are about.
        image: (3, h, w) in [0, 1].
        label: its class.
        norm: of the neighbourhood.
        epsilon: radius of the neighbourhood, in [0, 1] pixel units.
        tau: side of the grid's cells, in [0, 1] units.
        lipschitz: sound bounds on how much each score changes per unit of distance in this norm, one for each class or
            one for all; None where none is known, and then nothing is proven.
        most: grid images, at most; where there are more, the search ends early, and nothing is proven.

    Raises:
        InputError: sizes or bounds that do not fit.
    """
    if norm not in _ORDERS:
        raise InputError(f"a cell of the grid needs a norm of {', '.join(_ORDERS)}; got {norm!r}")
    if not (epsilon >= 0 and tau > 0 and most >= 1):
        raise InputError(f"epsilon >= 0, tau > 0 and most >= 1 are needed; got {epsilon}, {tau}, {most}")
    bounds = _bounds(lipschitz, len(classifier.class_names))
    half = half_diagonal(image.numel(), tau, norm)
    wide, order = image.detach().cpu().double().flatten(), _ORDERS[norm]
    reach = math.floor((epsilon + half) / tau + 1e-9)
    moves = _moves(len(wide), (epsilon + half + 1e-9) / tau, order, reach)
    looked_at, slack, severity = 0, math.inf if bounds is not None else -math.inf, math.inf
    found, wrong, exhausted = None, False, False
    while True:
        chunk = list(itertools.islice(moves, _BATCH))
        if not chunk:
            exhausted = True
            break
        offsets = torch.from_numpy(np.array(chunk, dtype=np.float64)) * tau
        if len(offsets) > most - looked_at:
            break
        grid = (wide + offsets).clamp(0, 1)
        looked_at += len(grid)
        scores = classifier(grid.to(image.dtype).view(-1, *image.shape)).detach().cpu().double()
        adversarial = scores.argmax(1) != label
        wrong |= bool(adversarial.any()) or not bool(scores.isfinite().all())
        distances = torch.linalg.vector_norm(grid - wide, order, dim=1)
        near = torch.where(adversarial & (distances <= epsilon + 1e-9), distances, torch.inf)
        if float(near.min()) < severity:
            severity = float(near.min())
            found = grid[int(near.argmin())].to(image.dtype).view(image.shape)
        if bounds is not None:
            leads = scores[:, [label]] - scores - (bounds[label] + bounds) * half
            leads[:, label] = torch.inf
            slack = min(slack, float(leads.min()))
    proven = exhausted and not wrong and found is None and bounds is not None and slack > 0
    told = _statement(norm, epsilon, tau, looked_at, exhausted, found, bounds, proven)
    return GridVerdict(
        norm=norm, epsilon=epsilon, looked_at=looked_at, exhausted=exhausted, found=found, severity=severity,
        slack=slack, proven=proven, statement=told,
    )  # fmt: skip


def _moves(count: int, radius: float, order: float, reach: int) -> Iterator[tuple[int, ...]]:
    """All integer vectors (count) of at most this length: only these are made, the shortest steps first."""
    steps = sorted(range(-reach, reach + 1), key=abs)
    if math.isinf(order):
        yield from itertools.product(steps, repeat=count)
        return
    budget = radius**order
    vector = [0] * count

    def fill(at: int, left: float) -> Iterator[tuple[int, ...]]:
        if at == count:
            yield tuple(vector)
            return
        for step in steps:
            price = abs(step) ** order
            if price > left:
                return
            vector[at] = step
            yield from fill(at + 1, left - price)

    yield from fill(0, budget)


def _bounds(lipschitz: float | Sequence[float] | None, classes: int) -> Tensor | None:
    if lipschitz is None:
        return None
    given = [float(lipschitz)] * classes if isinstance(lipschitz, (int, float)) else [float(v) for v in lipschitz]
    if len(given) != classes or not all(math.isfinite(v) and v >= 0 for v in given):
        raise InputError(
            f"Lipschitz bounds must be finite and not negative, one for each of {classes} classes or one number; "
            f"got {given}"
        )
    return torch.tensor(given, dtype=torch.float64)


def _statement(
    norm: CellNorm,
    epsilon: float,
    tau: float,
    looked_at: int,
    exhausted: bool,
    found: Tensor | None,
    bounds: Tensor | None,
    proven: bool,
) -> str:
    """The verdict in guarded words."""
    where = f"within {norm} distance {epsilon:g}"
    if found is not None:
        return f"an adversarial image {where} was found on the grid of step {tau:g}"
    if proven:
        return (
            f"no adversarial image {where}, provided that the given Lipschitz bounds hold for every score in {norm}; "
            f"all {looked_at} images of the grid of step {tau:g} lead by more than the bounds ask for"
        )
    if not exhausted:
        return f"nothing found {where} among {looked_at} grid images; the grid was not exhausted, so nothing is proven"
    why = "no Lipschitz bound was given" if bounds is None else "the leads do not suffice for the given bounds"
    return f"nothing found {where} on the grid of step {tau:g}; {why}, so nothing is proven between its points"
