"""The search: min_w Σ_i w_i ℓ(θ_u(w); i) + γ ‖w‖² with θ_u(w) = argmin_θ Σ_i (1 − w_i) ℓ(θ; i), 0 ≤ w ≤ 1, Σ w = m.

Fan, Liu, Hero and Liu, "Challenging Forgets: unveiling the worst-case forget sets in machine unlearning", ECCV 2024,
arXiv 2403.07362, equation 3 and algorithm 1. w_i = 1 forgets an image, so *minimising* the loss after unlearning finds
images that the network still gets right although they were removed.

Lower level: θ ← θ − η sign(gradient), from the trained network at every upper step. A sign has no derivative, so θ_u
does not depend on w to first order, and the gradient of the upper level is ℓ(θ_u) + 2γw. Upper step: w ← Proj(w − η_w
(ℓ + 2γw)), Proj(a) = clip(a − μ, 0, 1) with Σ = m (:func:`project_onto_count`, exact; the published code bisects).

Ours, by default: η_w is relative to the spread of the losses, and w starts uniform. With the published 0.01 and a
binary start no image is exchanged as long as η_w times the losses of all steps stays below 1.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.metrics.unlearning import set_overlap
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.evaluation import score_examples
from snellen.training.loop import train
from snellen.training.objectives import cross_entropy
from snellen.training.parts import Labelled, Weighted
from snellen.training.plan import TrainingPlan

Floats = NDArray[np.float64]

#: What progress calls it.
TASK = "searching the forget set"

#: A set that shares more with a binary start than this was hardly searched for.
NO_OP = 0.9

#: And so was one for which a smaller share of the weight was moved.
MOVED = 0.1


class ForgetSearch(BaseModel):
    """Numbers of a search; :data:`PUBLISHED` holds those of the published code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    upper_steps: int = Field(10, ge=1, description="steps of the selection (T)")
    epochs: int = Field(3, ge=1, description="passes of the lower level at each of them (K)")
    rate: float = Field(3e-4, gt=0, description="of the lower level: what a weight moves in a step (η)")
    batch_size: int = Field(256, ge=2, description="images of a step of the lower level")
    step: float = Field(1.0, gt=0, description="of the selection (η_w)")
    scale_free: bool = Field(True, description="whether the step is divided by the spread of the losses")
    gamma: float = Field(0.0, ge=0, description="weight of ‖w‖² (γ)")
    start: Literal["uniform", "binary"] = Field("uniform", description="m / n for all, or a random set of m")
    binarise_every: int | None = Field(None, ge=1, description="steps until w becomes its m largest; None: at the end")
    reverse: bool = Field(False, description="search the set that is easiest to unlearn")
    group_loss: Literal["mean", "sum"] = Field("mean", description="loss of a class, over its images")


#: Defaults of the published code, data-wise, with the rate of its README.
PUBLISHED = ForgetSearch(
    upper_steps=10, epochs=10, rate=1e-3, step=0.01, scale_free=False, start="binary", binarise_every=10
)


@dataclass(frozen=True, eq=False)
class ForgetSelection:
    """What a search found.

    Attributes:
        weights: w before the first and behind each upper step, float64 (T + 1, g), of g images or classes.
        chosen: the m selected ones, ascending.
        rows: images of the forget set, int64, ascending.
        overlap: share of the selection that stood in the start; None for a uniform start, which selects nothing.
        moved: share of the weight that stands elsewhere than in the start, before w becomes binary: ½ ‖w − w₀‖₁ / m, at
            most 1 − m / g for a uniform start.
        losses: mean loss of the m largest after unlearning, at each upper step.
    """

    weights: Floats
    chosen: NDArray[np.int64]
    rows: NDArray[np.int64]
    overlap: float | None
    moved: float
    losses: tuple[float, ...]

    @property
    def doubt(self) -> str | None:
        """Why the result should not be trusted, in words; None where there is no such reason."""
        remedy = "the search hardly moved; raise --step, or leave out the published preset"
        if self.overlap is not None and self.overlap > NO_OP:
            return f"{self.overlap:.0%} of the selection stood in the start already: {remedy}"
        if self.moved < MOVED:
            return f"{self.moved:.1%} of the weight of the selection was moved, less than {MOVED:.0%}: {remedy}"
        return None


def project_onto_count(values: Floats, count: int) -> Floats:
    """The nearest point with 0 ≤ w ≤ 1 and Σ w = m: clip(a − μ, 0, 1), μ found exactly by sorting, in float64.

    >>> project_onto_count(np.array([5.0, 0.5, 0.25, -7.0]), 1).tolist()
    [1.0, 0.0, 0.0, 0.0]
    >>> project_onto_count(np.zeros(4), 1).tolist()
    [0.25, 0.25, 0.25, 0.25]

    Args:
        values: a, finite, float64 (n,).
        count: m, 0 < m < n.

    Raises:
        InputError: a count out of range, or values that are not finite.
    """
    given = np.asarray(values, dtype=np.float64)
    if not 0 < count < len(given):
        raise InputError(f"a forget set holds at least 1 and at most {len(given) - 1} of {len(given)}; got {count}")
    if not np.isfinite(given).all():
        raise InputError("values to project must be finite")
    # Σ clip(a − μ, 0, 1) falls in straight lines between these places, with as many ends inside as are active.
    places = np.concatenate([given - 1, given])
    order = np.argsort(places, kind="stable")
    places = places[order]
    active = np.cumsum(np.where(order < len(given), 1, -1))
    sums = len(given) - np.concatenate([[0.0], np.cumsum(active[:-1] * np.diff(places))])
    left = max(int(np.searchsorted(-sums, -float(count), side="right")) - 1, 0)
    mu = places[left] + (sums[left] - count) / max(active[left], 1)
    return np.clip(given - mu, 0.0, 1.0)


def largest(weights: Floats, count: int) -> NDArray[np.int64]:
    """Positions of the m largest weights, ascending; of equal weights the first positions.

    >>> largest(np.array([0.5, 0.9, 0.5, 0.5]), 2).tolist()
    [0, 1]
    """
    order = np.lexsort((np.arange(len(weights)), -weights))
    return np.sort(order[:count]).astype(np.int64)


def upper_step(weights: Floats, losses: Floats, count: int, search: ForgetSearch) -> Floats:
    """Weights w after one step down the explicit gradient ℓ + 2γw (up with ``reverse``), projected.

    Args:
        weights: w, (g,).
        losses: of each image or class after unlearning, (g,).
        count: m.
        search: numbers.
    """
    signed = -losses if search.reverse else losses
    scale = spread(losses) if search.scale_free else 1.0
    return project_onto_count(weights - search.step * (signed / scale + 2 * search.gamma * weights), count)


def spread(losses: Floats) -> float:
    """Median absolute deviation of losses from their median; their standard deviation where that is 0; else 1.

    Most losses of training images are tiny and a few are large: a deviation that the few decide would move no other.
    """
    for found in (float(np.median(np.abs(losses - np.median(losses)))), float(np.std(losses))):
        if found > 0:
            return found
    return 1.0


def unlearned(
    network: PreparedNetwork, images: Labelled, weights: Floats, search: ForgetSearch, rng: Randomness
) -> PreparedNetwork:
    """The lower level: a copy of the network, trained by steps of the sign on Σ (1 − w_i) ℓ_i; the given one stays."""
    weighted = Weighted(images, torch.from_numpy(np.clip(1.0 - weights, 0.0, 1.0)).float())
    used = int((weighted.weights > 0).sum())
    trained = train(
        network,
        weighted,
        plan=TrainingPlan(
            epochs=search.epochs,
            batch_size=search.batch_size,
            optimizer="sign",
            learning_rate=search.rate,
            schedule="constant",
            # A last batch of one image has no statistics for BatchNorm; images of weight 0 are in no batch.
            drop_last=used > search.batch_size and used % search.batch_size == 1,
            seed=rng.generator("lower level").initial_seed() % 2**31,
        ),
    )
    made = copy.deepcopy(network)
    made.load_state_dict(dict(trained.weights))
    return made.eval()


def losses_of(network: PreparedNetwork, images: Labelled) -> Floats:
    """Cross-entropy of each image as it is, in evaluation mode: statistics of BatchNorm stay; float64 (n,), nats.

    Raises:
        ModelError: losses that are not finite.
    """
    scores, targets = score_examples(network.eval(), images)
    losses: Floats = cross_entropy(scores.double(), targets).numpy()
    if not np.isfinite(losses).all():
        raise ModelError("the unlearned network has losses that are not finite; lower --lower-rate")
    return losses


def group_losses(losses: Floats, groups: NDArray[np.int64], kind: Literal["mean", "sum"]) -> Floats:
    """Loss of each group over its images, (g,).

    >>> group_losses(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1]), "mean").tolist()
    [2.0, 5.0]
    """
    sums: Floats = np.bincount(groups, weights=losses).astype(np.float64)
    return sums / np.bincount(groups).astype(np.float64) if kind == "mean" else sums


def search_forget_set(
    network: PreparedNetwork,
    images: Labelled,
    count: int,
    *,
    search: ForgetSearch,
    rng: Randomness,
    groups: Sequence[int] | NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> ForgetSelection:
    """Find the forget set that is hardest to unlearn, or the easiest one.

    Args:
        network: trained on the images; it stays as it is, and every upper step begins with it.
        images: all training images.
        count: m images, or m groups.
        search: numbers.
        rng: of the start and of the order of images.
        groups: number of the group of each image, 0 … g − 1, such as its class, none without an image: w has an entry
            for each group, and the weight of an image is that of its group. None: every image is its own group.
        progress: callback that receives progress updates.

    Raises:
        InputError: a count out of range, or a group without an image.
        ModelError: a lower level that diverges.
    """
    of_image = np.arange(len(images)) if groups is None else np.asarray(groups, dtype=np.int64)
    total = int(of_image.max()) + 1
    if empty := (np.bincount(of_image) == 0).sum():
        raise InputError(f"{empty} of {total} groups have no image; number the groups that have one 0 … g − 1")
    if not 0 < count < total:
        raise InputError(f"a forget set holds at least 1 and at most {total - 1} of {total}; got {count}")
    listener = progress or Silent()
    weights = np.full(total, count / total)
    if search.start == "binary":
        drawn = torch.randperm(total, generator=rng.generator("start"))[:count].numpy()
        weights = np.isin(np.arange(total), drawn).astype(np.float64)
    course, means, moved = [weights], list[float](), 0.0
    listener.begin(TASK, search.upper_steps)
    for number in range(1, search.upper_steps + 1):
        lowered = unlearned(network, images, weights[of_image], search, rng.child("upper step", number))
        losses = group_losses(losses_of(lowered, images), of_image, search.group_loss)
        weights = upper_step(weights, losses, count, search)
        moved = float(np.abs(weights - course[0]).sum() / (2 * count))
        if number % (search.binarise_every or search.upper_steps) == 0 or number == search.upper_steps:
            weights = np.isin(np.arange(total), largest(weights, count)).astype(np.float64)
        course.append(weights)
        means.append(float(losses[largest(weights, count)].mean()))
        listener.advance(TASK, 1, f"loss of the forget set {means[-1]:.4f}")
    listener.finish(TASK)
    chosen = largest(weights, count)
    return ForgetSelection(
        weights=np.stack(course),
        chosen=chosen,
        rows=np.flatnonzero(np.isin(of_image, chosen)).astype(np.int64),
        overlap=set_overlap(chosen.tolist(), np.flatnonzero(course[0]).tolist()) if search.start == "binary" else None,
        moved=moved,
        losses=tuple(means),
    )
