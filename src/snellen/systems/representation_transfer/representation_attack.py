"""Attacks on what a layer gives: a tensor is added to the representation, and the layers behind it are run.

The setting of "Understanding adversarial transfer: why representation-space attacks fail where data-space attacks
succeed", 2025, arXiv 2510.01494: for a model f = h ∘ g, the data-space attack changes x, the representation-space
attack changes g(x), h(g(x) + δ), and needs access to the inside of the model when it is used, too. The search is the
one loop of :mod:`snellen.methods.attacks.perturbation`: encoded once, each step runs only the layers behind the cut. At
the layer ``pixels`` it is projected gradient descent on images, step for step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion, Misclassified
from snellen.core.errors import InputError
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import Norm, ball, steepest
from snellen.methods.attacks.perturbation import cross_entropy
from snellen.methods.attacks.perturbation.loop import ascend
from snellen.methods.attacks.perturbation.objectives import Objective
from snellen.methods.attacks.perturbation.open_balls import OpenL2Ball, OpenLinfBall
from snellen.methods.attacks.perturbation.projections import Projection
from snellen.methods.attacks.perturbation.search import Keep, Search
from snellen.methods.attacks.perturbation.shared_change import SharedChange
from snellen.models.layers.split_classifier import PIXELS, apply_to_channels

#: per-image: a tensor for each image. universal: one tensor for all images, which share their gradient.
Scope = Literal["per-image", "universal"]


class Split(Protocol):
    """A model cut in two, as :class:`~snellen.models.layers.split_classifier.SplitClassifier` is, or any other."""

    @property
    def classifier(self) -> Classifier:
        """Whose classes the scores are of."""
        ...

    @property
    def layer(self) -> str:
        """Where it is cut; ``pixels`` where the representation is an image in [0, 1]."""
        ...

    @property
    def place(self) -> str:
        """The same in words."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Inputs (n, ...) → representations (n, ...)."""
        ...

    def decode(self, representations: Tensor, images: Tensor | None = None) -> Tensor:
        """Representations, and the inputs that they are of → scores (n, k), differentiably."""
        ...


@dataclass(frozen=True, eq=False)
class Crafted:
    """Tensors to add to a representation, and how the search for them went.

    Attributes:
        changes: (n, ...) in the shape of the representation; (1, ...) of the scope ``universal``.
        scope: whether each image has its own.
        place: where they are added, in words, with the side of a nonlinearity.
        norm: of the allowed set.
        epsilon: its size, in the units of the representation.
        search: the account of the search; its ``images`` are representations.
    """

    changes: Tensor
    scope: Scope
    place: str
    norm: Norm
    epsilon: float
    search: Attacked


def craft(
    split: Split,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    epsilon: float,
    steps: int = 20,
    step_size: float | None = None,
    random_start: bool = False,
    scope: Scope = "per-image",
    low: float | None = None,
    keep: Keep = "last",
    criterion: Criterion | None = None,
    objective: Objective = cross_entropy,
    encoded: Tensor | None = None,
    rng: Randomness | None = None,
) -> Crafted:
    """Find what to add to the representations of images so that the scores meet a criterion.

    Args:
        split: the model that is attacked, white box.
        images: prepared images (n, 3, h, w).
        labels: (n,), targets for a targeted criterion.
        norm: of the change.
        epsilon: its largest size, in the units of the representation (of pixels: [0, 1]).
        steps: gradient steps; all are taken unless ``keep`` says otherwise.
        step_size: by default 2.5 · epsilon / steps.
        random_start: start from a random point of the ball instead of the clean representation.
        scope: one tensor for each image, or one for all of them.
        low: smallest value that a changed representation may have (0 behind a ReLU keeps it reachable); None for none.
            Pixels have the box [0, 1] always.
        keep: which candidate of an image is kept; ``first`` stops at the first success.
        criterion: what counts as success, by default misclassification.
        objective: what is climbed.
        encoded: the representations, where they are at hand.
        rng: randomness of the starts, per image.

    Raises:
        InputError: a universal tensor with another ``keep`` than ``last``.
    """
    if scope == "universal" and keep != "last":
        raise InputError(f"a universal tensor takes all its steps on all images: keep='last', got {keep!r}")
    with torch.inference_mode(False), torch.no_grad():
        clean = split.encode(images) if encoded is None else encoded
        shape, rng = clean.shape, (rng or Randomness(0)).bind(len(images))

        def evaluate(candidates: Tensor, wanted: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
            scores = split.decode(candidates.view(len(candidates), *shape[1:]), images[positions])
            return scores, objective(scores, wanted)

        space = None
        if scope == "universal":
            space = SharedChange(low=0.0, high=1.0) if split.layer == PIXELS else SharedChange(low=low)
        search = Search(
            split.classifier,
            as_maps(clean),
            labels,
            evaluate=evaluate,
            criterion=criterion or Misclassified(),
            projection=allowed(split, norm, epsilon, scope=scope, low=low),
            keep=keep,
        )
        if random_start and keep != "last":
            search.judge_clean()
        ascend(
            search,
            rng.child("restart", 0),
            step_rule=steepest(norm, step_size or 2.5 * epsilon / steps),
            steps=steps,
            space=space,
            random_start=random_start,
        )
        found = search.result()
        if space is not None:
            changes = torch.zeros_like(as_maps(clean)[:1]) if space.change is None else space.change
        else:
            changes = found.images - as_maps(clean)
    return Crafted(changes.view(-1, *shape[1:]), scope, split.place, norm, epsilon, found)


def add(
    split: Split,
    images: Tensor,
    changes: Tensor,
    *,
    matrix: Tensor | None = None,
    encoded: Tensor | None = None,
    low: float | None = None,
) -> Tensor:
    """Scores with tensors added to the representation: nothing is searched for and no gradient is taken.

    Args:
        split: the model that is judged; it may give no gradients at all.
        images: prepared images (n, 3, h, w).
        changes: (n, ...) or (1, ...), as :func:`craft` gives them.
        matrix: (c, k), what the channels of the changes are multiplied with first, as rows.
        encoded: the representations, where they are at hand.
        low: smallest value of the sum, None for none.

    Returns:
        Scores (n, k).

    Raises:
        InputError: changes of another shape than the representation; the message names both.
    """
    with torch.no_grad():
        clean = split.encode(images) if encoded is None else encoded
        return split.decode(summed(split, clean, changes, matrix=matrix, low=low), images)


def summed(
    split: Split, clean: Tensor, changes: Tensor, *, matrix: Tensor | None = None, low: float | None = None
) -> Tensor:
    """Representations (n, ...) with changes (n, ...) or (1, ...) added; images stay in [0, 1].

    Raises:
        InputError: changes of another shape than the representation; the message names both.
    """
    moved = changes if matrix is None else apply_to_channels(changes, matrix)
    if moved.shape[1:] != clean.shape[1:] or len(moved) not in (1, len(clean)):
        raise InputError(
            f"a tensor {tuple(moved.shape)} cannot be added to the representation {tuple(clean.shape)} of "
            f"{split.classifier.name} at {split.place}: the shapes of an image differ. Carry it over between "
            f"layers of equal shape, or with a ridge map between channels of equal places"
        )
    total = clean + moved
    if split.layer == PIXELS:
        return total.clamp(0, 1)
    return total if low is None else total.clamp(min=low)


def random_changes(shape: torch.Size, *, norm: Norm, epsilon: float, rng: Randomness) -> Tensor:
    """Directions that know nothing, of the full size: random signs in L-infinity, Gaussian ones in L2: (n, ...).

    >>> drawn = random_changes(torch.Size([2, 3]), norm="l2", epsilon=0.5, rng=Randomness(0).bind(2))
    >>> [round(length, 6) for length in drawn.norm(dim=1).tolist()]
    [0.5, 0.5]
    """
    drawn = rng.bind(shape[0]).normal("direction", shape[1:])
    if norm == "linf":
        return torch.where(drawn >= 0, epsilon, -epsilon)
    return epsilon * drawn / drawn.flatten(1).norm(dim=1).view(-1, *[1] * (len(shape) - 1))


def relative_size(epsilon: float, norm: Norm, representations: Tensor) -> float:
    """Epsilon in units of the root mean square of an activation; in L2, of the length of such a vector.

    >>> relative_size(1.0, "linf", torch.full((2, 4), 2.0)), relative_size(1.0, "l2", torch.full((2, 4), 2.0))
    (0.5, 0.25)
    """
    spread = float(representations.detach().double().square().mean().sqrt())
    if not spread > 0:
        raise InputError("the representation is zero for all of these images: its size can be told in no units of it")
    return epsilon / (spread * (1.0 if norm == "linf" else representations[0].numel() ** 0.5))


def allowed(
    split: Split, norm: Norm, epsilon: float, *, scope: Scope = "per-image", low: float | None = None
) -> Projection:
    """The allowed set: with the box for images, without it for other representations and for shared changes."""
    if split.layer == PIXELS and scope == "per-image":
        return ball(norm, epsilon)
    low = None if scope == "universal" else low
    return OpenLinfBall(epsilon, low) if norm == "linf" else OpenL2Ball(epsilon, low)


def as_maps(values: Tensor) -> Tensor:
    """The same numbers in four dims (n, ., ., .), which the loop is written for."""
    return values.view(len(values), *values.shape[1:], *[1] * (4 - values.ndim))
