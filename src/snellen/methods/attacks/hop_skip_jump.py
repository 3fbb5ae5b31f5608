"""An attack by decisions alone.

Chen, Jordan and Wainwright, "HopSkipJumpAttack: a query-efficient decision-based attack", IEEE S&P 2020, arXiv
1904.02144, algorithms 1 and 2: estimate the normal of the decision boundary from the decisions around a point of it,
step along it, return to the boundary by bisection.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion
from snellen.core.errors import InputError
from snellen.core.in_float64 import widest
from snellen.core.method import Method, Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import Norm
from snellen.methods.attacks.perturbation import L2Ball, LinfBall
from snellen.methods.attacks.perturbation.projections import l2_norm
from snellen.methods.attacks.perturbation.search import Search, start_search

#: (candidates (m, 3, h, w), rows of the walk (m,)) → which meet the criterion: bool (m,).
Decide = Callable[[Tensor, Tensor], Tensor]


def blend(clean: Tensor, adversarial: Tensor, amount: Tensor, *, norm: str) -> Tensor:
    """Images between a clean and an adversarial one: (n, 3, h, w), (n, 3, h, w), (n,) → (n, 3, h, w).

    ``l2``: amount is the share of the way, in [0, 1]. ``linf``: amount is the largest allowed change.

    >>> clean, adversarial = torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.25, 1.0]]]])
    >>> blend(clean, adversarial, torch.tensor([0.5]), norm="l2").flatten().tolist()
    [0.125, 0.5]
    >>> blend(clean, adversarial, torch.tensor([0.5]), norm="linf").flatten().tolist()
    [0.25, 0.5]
    """
    size = amount.to(clean.dtype).view(-1, 1, 1, 1)
    change = adversarial - clean
    shrunk = change * size if norm == "l2" else torch.maximum(torch.minimum(change, size), -size)
    return (clean + shrunk).clamp(0, 1)


def bisect(
    clean: Tensor, adversarial: Tensor, decide: Decide, *, norm: str, largest: Tensor, tolerance: Tensor
) -> Tensor:
    """Bring adversarial images to the boundary (Chen et al. 2020, algorithm 1); the results are adversarial.

    Args:
        clean: (n, 3, h, w).
        adversarial: (n, 3, h, w), all meeting the criterion.
        decide: queries the classifier, once a candidate; an image leaves when its interval is below its tolerance.
        norm: ``l2`` or ``linf``, see :func:`blend`.
        largest: amount that gives ``adversarial`` itself: (n,).
        tolerance: on the amount, above 0: (n,).
    """
    low, high = torch.zeros_like(largest), largest.clone()
    best = adversarial.clone()
    rows = ((high - low) > tolerance).nonzero().flatten()
    while len(rows):
        middle = (low[rows] + high[rows]) / 2
        candidates = blend(clean[rows], adversarial[rows], middle, norm=norm)
        met = decide(candidates, rows)
        high[rows], low[rows] = torch.where(met, middle, high[rows]), torch.where(met, low[rows], middle)
        best[rows[met]] = candidates[met]
        rows = rows[(high[rows] - low[rows]) > tolerance[rows]]
    return best


#: Directions that are drawn and queried at once; a constant, so that no draw depends on the batch.
_CHUNK = 64
_STARTS = 100
_LARGEST_ESTIMATE = 10_000


class HopSkipJump(Method):
    """A near image that fools a classifier whose decisions alone are known.

    The first adversarial image is uniform noise, up to 100 draws, or one of ``starts``; where none of them meets the
    criterion, the image ends as a failure. Targeted attacks need ``starts``: images of the target classes.

    >>> from torch import nn
    >>> _ = torch.manual_seed(0)
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), class_names=["a", "b"])
    >>> images = torch.rand(4, 3, 4, 4)
    >>> labels = classifier(images).argmax(1)
    >>> attacked = HopSkipJump(budget=500).attack(classifier, images, labels)
    >>> int(attacked.queries.max()) <= 500, int(attacked.gradients.max())
    (True, 0)
    """

    name: ClassVar[str] = "hop_skip_jump"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    finds: ClassVar[tuple[str, ...]] = ("adversarial",)

    norm: Norm = Field("l2", description="norm of the change")
    budget: int = Field(5000, ge=2, description="largest number of queries an image")
    iterations: int = Field(64, ge=1, description="largest number of steps along the boundary")
    first_estimate: int = Field(
        100, ge=2, description="queries of the first estimate of the normal; the t-th takes sqrt(t) times as many"
    )
    tolerance: float = Field(
        1.0,
        gt=0,
        description="tolerance of the bisection (gamma), in units of d^(-3/2) for L2 and d^(-2) for L-infinity",
    )

    def attack(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        *,
        criterion: Criterion | None = None,
        rng: Randomness | None = None,
        starts: Tensor | None = None,
    ) -> Attacked:
        """Attack prepared images (n, 3, h, w) in [0, 1]; distances are in the norm of the attack.

        Args:
            classifier: only the decisions of its scores are used; one-hot scores do.
            images: float32 or float64.
            labels: (n,), targets for a targeted criterion.
            criterion: judged on the scores as they are.
            rng: randomness of starts and directions, per image.
            starts: (n, 3, h, w) in [0, 1], adversarial images to start from; one that does not meet the criterion is
                not used, and noise is tried instead.

        Raises:
            InputError: images, labels or starts that do not fit.
        """
        begun = start_search(
            classifier,
            images,
            labels,
            projection=L2Ball(torch.inf) if self.norm == "l2" else LinfBall(1.0),
            criterion=criterion,
            rng=(rng or Randomness(0)).child("hop-skip-jump"),
            keep="closest",
        )
        with begun as (search, rng):
            if starts is not None and starts.shape != search.images.shape:
                raise InputError(
                    f"starts {tuple(starts.shape)} for images {tuple(images.shape)}; give one starting image for each"
                )
            search.judge_clean()
            walk = _Walk(self, search, rng)
            positions, current = walk.start(search.open_positions(), starts)
            for iteration in range(1, self.iterations + 1):
                if not len(positions):
                    break
                positions, current = walk.step(positions, current, iteration)
            return search.result()


class _Walk:
    """The walk of a batch along the boundary. Images whose budget is spent leave it."""

    def __init__(self, method: HopSkipJump, search: Search, rng: Randomness) -> None:
        self.method, self.search, self.rng = method, search, rng
        self.width = search.images[0].numel() if len(search.images) else 1
        self.theta = method.tolerance / self.width ** (1.5 if method.norm == "l2" else 2.0)
        #: Distance of each image before the bisection that brought it to the boundary.
        self.reach = torch.zeros(len(search.images), dtype=widest(search.images.device), device=search.images.device)

    def decided(self, candidates: Tensor, positions: Tensor) -> Tensor:
        """Query, judge and keep candidates: which meet the criterion, bool (m,). No query exceeds the budget."""
        met = torch.zeros_like(positions, dtype=torch.bool)
        rows = (self.search.queries[positions] < self.method.budget).nonzero().flatten()
        # One by one: next to the boundary the last bits decide, and they depend on the size of a batch.
        for row in rows.split(1):
            scores, _, finite = self.search.ask(candidates[row], positions[row])
            self.search.record(positions[row], candidates[row], scores, finite)
            met[row] = finite & self.search.criterion.success(scores, self.search.labels[positions[row]])
        return met

    def start(self, positions: Tensor, starts: Tensor | None) -> tuple[Tensor, Tensor]:
        """First adversarial images, brought to the boundary: positions that have one, and the images."""
        current = self.search.images[positions].clone()
        found = torch.zeros_like(positions, dtype=torch.bool)
        if starts is not None and len(positions):
            current = starts[positions].to(current)
            found = self.decided(current, positions)
        for draw in range(_STARTS):
            rows = (~found & ~self.search.not_finite[positions]).nonzero().flatten()
            rows = rows[self.search.queries[positions[rows]] < self.method.budget]
            if not len(rows):
                break
            noise = self.rng[positions[rows]].uniform(f"start-{draw}", current.shape[1:], like=current).to(current)
            met = self.decided(noise, positions[rows])
            current[rows[met]], found[rows[met]] = noise[met], True
        positions, current = positions[found], current[found]
        return positions, self.to_boundary(current, positions)

    def to_boundary(self, adversarial: Tensor, positions: Tensor) -> Tensor:
        """Bisect between clean and adversarial images (m, 3, h, w)."""
        if not len(positions):
            return adversarial
        clean = self.search.images[positions]
        distance = self.search.projection.distance(adversarial, clean).to(self.reach)
        self.reach[positions] = distance
        largest = torch.ones_like(distance) if self.method.norm == "l2" else distance
        tolerance = torch.full_like(distance, self.theta)
        if self.method.norm == "linf":
            tolerance *= distance.clamp(max=1.0)
        # Closer to the boundary, the rounding of another batch would decide.
        return bisect(
            clean, adversarial, lambda candidates, rows: self.decided(candidates, positions[rows]),
            norm=self.method.norm, largest=largest, tolerance=tolerance.clamp(min=1e-6),
        )  # fmt: skip

    def step(self, positions: Tensor, current: Tensor, iteration: int) -> tuple[Tensor, Tensor]:
        """One step from the boundary and back to it; gives back the images that go on."""
        probes = min(int(self.method.first_estimate * math.sqrt(iteration)), _LARGEST_ESTIMATE)
        going = (self.search.queries[positions] + probes < self.method.budget) & ~self.search.not_finite[positions]
        positions, current = positions[going], current[going]
        if not len(positions):
            return positions, current
        normals = torch.stack(
            [
                self._normal(position, image, iteration, probes)
                for position, image in zip(positions, current, strict=True)
            ]
        )
        distance = self.search.projection.distance(current, self.search.images[positions])
        size = (distance / math.sqrt(iteration)).view(-1, 1, 1, 1)
        stepped, open_rows = current.clone(), torch.arange(len(positions), device=positions.device)
        # Halve the step until the image is adversarial again; a float has no more than this many halves.
        for _ in range(60):
            candidates = (current[open_rows] + size[open_rows] * normals[open_rows]).clamp(0, 1)
            met = self.decided(candidates, positions[open_rows])
            stepped[open_rows[met]] = candidates[met]
            open_rows = open_rows[~met]
            open_rows = open_rows[self.search.queries[positions[open_rows]] < self.method.budget]
            if not len(open_rows):
                break
            size[open_rows] /= 2
        return positions, self.to_boundary(stepped, positions)

    def _normal(self, position: Tensor, image: Tensor, iteration: int, probes: int) -> Tensor:
        """Estimate of the boundary's normal at one image (3, h, w), towards the adversarial side (paper, eq. 16).

        Each image is queried alone, however many others there are: a batch gives the bits that one image gives.
        """
        search, norm = self.search, self.method.norm
        # The radius follows how far the last bisection came from (section IV-B); the first one is a tenth of the box.
        reach = float(self.reach[position])
        scale = math.sqrt(self.width) if norm == "l2" else self.width
        radius = 0.1 if iteration == 1 else max(scale * self.theta * reach, 1e-6)
        rng = self.rng[position[None]].child("step", iteration)
        total, weighted, agreed = torch.zeros_like(image), torch.zeros_like(image), 0
        for chunk, begin in enumerate(range(0, probes, _CHUNK)):
            shape = (min(_CHUNK, probes - begin), *image.shape)
            draw = rng.normal if norm == "l2" else rng.uniform
            directions = draw(f"directions-{chunk}", shape, like=image)[0].to(image)
            directions = directions if norm == "l2" else 2 * directions - 1
            directions = directions / l2_norm(directions)
            candidates = (image + radius * directions).clamp(0, 1)
            directions = (candidates - image) / radius
            scores = search.classifier(candidates)
            labels = search.labels[position].expand(len(scores), *search.labels.shape[1:])
            met = search.criterion.success(scores, labels) & scores.isfinite().flatten(1).all(1)
            total += directions.sum(0)
            weighted += directions[met].sum(0)
            agreed += int(met.sum())
        search.queries[position] += probes
        mean = 2 * agreed / probes - 1
        # Σ (φ − mean φ) u with φ = ±1: the baseline of section III-C, which is 0 where all decisions agree.
        normal = 2 * weighted - (1 + mean) * total if 0 < agreed < probes else mean * total
        return normal.sign() if norm == "linf" else normal / torch.linalg.vector_norm(normal).clamp(min=1e-12)
