"""Fast adaptive boundary attack, targeted: the nearest image on the other side of a decision boundary.

Croce and Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack", ICML 2020, arXiv
1907.02044, algorithm 1. The boundary between the label and one other class is made linear at the current point; current
and clean point are both projected onto it within [0, 1]; the next point lies between the two projections, a little
beyond the plane, and is drawn back towards the clean image whenever it is misclassified.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.method import Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import Norm, ball, refuse_levels, uphill
from snellen.methods.attacks.perturbation import Search
from snellen.methods.attacks.perturbation.contested_classes import (
    classes_to_raise,
    on_pairs,
    refuse_without_pairs,
)
from snellen.methods.attacks.perturbation.objectives import targeted_margin
from snellen.methods.attacks.perturbation.projections import Projection
from snellen.methods.attacks.perturbation.stopping import Hopeless
from snellen.methods.attacks.search_attack import SearchAttack


def smallest_change(points: Tensor, normals: Tensor, gaps: Tensor, *, norm: Literal["linf", "l2"]) -> Tensor:
    """Changes d of least norm with normal · d = gap and point + d in [0, 1]: (n, ...) of the shape of the points.

    The projection of section 2.2 is a one-dimensional problem. Every pixel moves towards the plane by t · v until it
    meets its bound of the box; v is 1 for the L-infinity norm and |w| for the Euclidean one. What is gained is
    piecewise linear and concave in t, so Newton steps from t = 0 reach the exact t after as many rounds as sets of
    pixels meet their bounds: a few, no sorting and no bisection.

    Where the box does not reach the plane, the change leads to the corner that comes nearest to it. Where the normal is
    zero, nothing changes.

    >>> point, normal = torch.tensor([[0.5, 0.9]]), torch.tensor([[1.0, 1.0]])
    >>> smallest_change(point, normal, torch.tensor([0.5]), norm="linf")
    tensor([[0.4000, 0.1000]])

    Args:
        points: (n, ...) in [0, 1].
        normals: (n, ...), of the same shape.
        gaps: (n,), how much normal · point has to grow; negative to fall.
        norm: whose length of the change is least.
    """
    weights = normals.flatten(1) * torch.where(gaps < 0, -1.0, 1.0)[:, None].to(normals.dtype)
    flat = points.flatten(1)
    room = torch.where(weights > 0, 1 - flat, flat).clamp_(min=0)
    pull = weights.abs()
    speed = torch.ones_like(pull) if norm == "linf" else pull
    wanted = gaps.abs()
    free = (pull > 0) & (room > 0)
    worth, gain = pull * room, pull * speed
    everything = worth.sum(1)
    time = torch.zeros_like(wanted)
    while True:
        inside = free.to(pull.dtype)
        slope = (gain * inside).sum(1)
        fixed = everything - (worth * inside).sum(1)
        # The tangent of a concave function lies above it: the step never passes the solution, and no pixel comes back.
        reached = torch.where(slope > 0, (wanted - fixed) / slope.clamp(min=torch.finfo(slope.dtype).tiny), time)
        time = torch.maximum(time, reached)
        still = free & (time[:, None] * speed < room)
        if bool((still == free).all()):
            break
        free = still
    # A plane out of reach is one towards which every pixel goes as far as it can.
    unreachable = (wanted > everything)[:, None] & (pull > 0)
    moved = torch.where(unreachable, room, torch.minimum(time[:, None] * speed, room))
    return (moved * weights.sign()).view_as(points)


#: Length of a random start where no success is known yet and no epsilon is given: the sizes of the paper's experiments.
_USUAL = {"linf": 0.3, "l2": 1.0}


class FAB(SearchAttack):
    """The smallest change that alters the decision, found by projections onto decision hyperplanes.

    Without ``epsilon`` it searches to the end and returns the nearest success: its distance is the figure of interest.
    With ``epsilon``, an image leaves at its first success within it, and that distance is not the smallest. Each
    projection costs two queries and a gradient.

    >>> import torch
    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    >>> classifier = Classifier(model, class_names=["a", "b"])
    >>> images = torch.full((1, 3, 4, 4), 0.5)
    >>> scores, weight = classifier(images)[0], model[1].weight[0] - model[1].weight[1]
    >>> attacked = FAB(steps=20).attack(classifier, images, classifier(images).argmax(1))
    >>> smallest = (scores[0] - scores[1]).abs() / weight.abs().sum()
    >>> bool((attacked.distance[0] / smallest - 1).abs() < 0.01)
    True
    """

    name: ClassVar[str] = "fab"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients"})

    epsilon: float | None = Field(
        None, ge=0, description="largest change that counts, in [0, 1] pixel units of the norm; by default any, nearest"
    )
    norm: Norm = Field("linf", description="norm of the change")
    steps: int = Field(100, ge=1, description="projections for each target class")
    restarts: int = Field(1, ge=1, description="starts for each target class: the clean image, then random ones")
    target_classes: int = Field(9, ge=1, description="other classes that are tried, at most all there are")
    overshoot: float = Field(1.05, ge=1, description="how far beyond the plane projections go (eta)")
    backward: float = Field(0.9, gt=0, lt=1, description="share of the change that a success keeps (beta)")
    bias: float = Field(0.1, ge=0, le=1, description="largest weight of the clean image's projection (alpha_max)")
    patience: float | None = Field(
        None,
        gt=0,
        le=1,
        description="end a search that would not be within epsilon by its last step, nearing as fast as in the last "
        "such share of its steps. Not in the paper; can lose a success. By default never",
    )

    @model_validator(mode="after")
    def _parameters_fit(self) -> Self:
        refuse_levels(self.norm, self.epsilon)
        if self.patience is not None and self.epsilon is None:
            raise ValueError(
                "patience predicts whether a search will still come within epsilon, and without epsilon the nearest "
                "success is searched for; set epsilon, or leave patience out"
            )
        return self

    def _allowed(self) -> Projection:
        return ball(self.norm, torch.inf if self.epsilon is None else self.epsilon)

    def _search(self, search: Search, rng: Randomness) -> Attacked:
        refuse_without_pairs(search.classifier, self.name)
        search.keep = "closest" if self.epsilon is None else "first"
        search.judge_clean()
        targets = classes_to_raise(search.scores, search.labels, search.criterion, self.target_classes)
        for rank, target in enumerate(targets.T):
            search.evaluate = on_pairs(search.classifier, targeted_margin, target, search.criterion)
            for restart in range(self.restarts):
                self._approach(search, restart, rng.child("target", rank, "restart", restart))
        return search.result()

    def _approach(self, search: Search, restart: int, rng: Randomness) -> None:
        """All steps towards one target class, for every image that is not done."""
        done = search.already if search.keep == "closest" else search.success
        positions = (~(done | search.not_finite)).nonzero().flatten()
        if not len(positions):
            return
        clean = search.images[positions]
        points = self._start(search, positions, rng[positions]) if restart else clean
        stop = None
        if self.patience is not None:
            stop = Hopeless(len(search.images), steps=self.steps, share=self.patience, direction=1)
        for step in range(self.steps):
            with torch.enable_grad():
                points = points.detach().requires_grad_(True)
                scores, values, finite = search.ask(points, positions)
                gradient = search.differentiate(values, points, positions)
            points, values = points.detach(), values.detach()
            # The clean image has been judged, and a point drawn back may still be misclassified, and nearer.
            at_clean = step == 0 and restart == 0
            done = ~finite if at_clean else search.record(positions, points, scores.detach(), finite)
            search.not_finite[positions] |= ~finite
            steepest = gradient.abs().flatten(1).amax(1)
            lost = ~done & ~steepest.isfinite()
            search.not_finite[positions] |= lost
            left = (~(done | lost)).nonzero().flatten()
            if not len(left):
                return
            positions, clean, points = positions[left], clean[left], points[left]
            values, gradient = values[left], gradient[left]
            search.stepped[positions] = True
            search.sloped[positions] |= steepest[left] > 0
            points = self._next(points, clean, values, gradient)
            scores, _, finite = search.ask(points, positions)
            crossed = finite & search.criterion.success(scores, search.labels[positions])
            done = search.record(positions, points, scores, finite)
            if stop is not None and self.epsilon is not None:
                # Drawn back, a point may still be misclassified: what its distance then is counts in its favour.
                nearness = self.epsilon - self.backward * search.projection.distance(points, clean)
                done = done | stop(nearness.where(crossed, -torch.inf), positions, step)
            points = torch.where(crossed.view(-1, 1, 1, 1), clean + self.backward * (points - clean), points)
            if bool(done.any()):
                left = (~done).nonzero().flatten()
                if not len(left):
                    return
                positions, clean, points = positions[left], clean[left], points[left]

    def _next(self, points: Tensor, clean: Tensor, values: Tensor, gradient: Tensor) -> Tensor:
        """Between the projections of current and clean point onto value + gradient · (x − point) = 0."""
        across = (gradient * (clean - points)).flatten(1).sum(1)
        from_point = smallest_change(points, gradient, -values, norm=self.norm)
        from_clean = smallest_change(clean, gradient, -(values + across), norm=self.norm)
        order = torch.inf if self.norm == "linf" else 2
        lengths = [torch.linalg.vector_norm(d.flatten(1), order, dim=1) for d in (from_point, from_clean)]
        share = lengths[0] / (lengths[0] + lengths[1]).clamp(min=1e-12)
        weight = share.clamp(max=self.bias).view(-1, 1, 1, 1)
        mixed = (1 - weight) * (points + self.overshoot * from_point) + weight * (clean + self.overshoot * from_clean)
        return mixed.clamp(0, 1)

    def _start(self, search: Search, positions: Tensor, rng: Randomness) -> Tensor:
        """Random points at half the distance of the nearest success, or of epsilon where there is none."""
        clean = search.images[positions]
        unknown = _USUAL[self.norm] if self.epsilon is None else self.epsilon
        nearest = torch.where(search.success[positions], search.distance[positions], unknown).to(clean.dtype)
        noise = rng.normal("start", clean.shape[1:], like=clean).to(clean.dtype)
        direction = noise / noise.abs().amax((1, 2, 3), keepdim=True) if self.norm == "linf" else uphill("l2", noise)
        return (clean + 0.5 * nearest.clamp(max=unknown).view(-1, 1, 1, 1) * direction).clamp(0, 1)
