"""From images to certificates: a class is chosen by one set of noisy votes, and bounded by others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.budget import Spent
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.outcomes import Certified
from snellen.core.randomness import Randomness
from snellen.methods.smoothing.bounds import Look, check_level, lower_bound, proven_radius, upper_bound
from snellen.methods.smoothing.branches import Branch
from snellen.methods.smoothing.votes import CHUNK, check_noise, hard_votes

#: Why an image has no certificate.
ABSTAINS = "abstains: no class has a proven majority of the votes"


@dataclass(frozen=True, eq=False)
class CertifiedByVotes(Certified):
    """A certificate of n images from noisy votes.

    Attributes:
        sigma: standard deviation of the noise.
        guarantee: whether the radius is proven. False for the published formula, which is not.
        selection: int64 (n, b, k), votes that chose the class, by branch.
        estimation: int64 (n, b, k), votes that the bounds come from; ``votes`` is their sum over branches.
        selection_samples: of each branch in the selection.
        samples: int64 (n,), of each branch in the estimation.
        lower: float64 (n, b), bounds of the class's probability by branch.
        largest: the radius that no image can exceed with so many samples.
    """

    sigma: float
    guarantee: bool
    selection: Tensor
    estimation: Tensor
    selection_samples: int
    samples: Tensor
    lower: Tensor
    largest: float

    @property
    def spent(self) -> Spent:
        """Noisy images that were sent through networks."""
        branches = self.estimation.shape[1]
        return Spent(queries=branches * (int(self.samples.sum()) + self.selection_samples * len(self.samples)))

    def evidence(
        self,
        classifier: Classifier,
        example_ids: Sequence[str],
        labels: Sequence[int | None] | None = None,
        *,
        setting: str,
        unit_ids: Sequence[str | None] | None = None,
    ) -> Evidence:
        """One row for each image: the certified class as prediction, the radius as value; an abstention has none."""
        held = self.prediction >= 0
        extra: dict[str, Any] = {
            "samples": pa.array(self.samples.tolist(), pa.int64()),
            "lower_bounds": pa.array(self.lower.tolist(), pa.list_(pa.float64())),
            "votes": pa.array(self.estimation.tolist(), pa.list_(pa.list_(pa.int64()))),
            "selection_votes": pa.array(self.selection.tolist(), pa.list_(pa.list_(pa.int64()))),
            "guarantee": pa.array([self.guarantee] * len(held), pa.bool_()),
        }
        return Evidence.of(
            example_ids,
            setting=setting,
            model=classifier.name,
            unit_ids=unit_ids,
            label=labels,
            prediction=[p if h else None for p, h in zip(self.prediction.tolist(), held.tolist(), strict=True)],
            value=self.radius.double().tolist(),
            reason=[None if h else ABSTAINS for h in held.tolist()],
            extra=extra,
            spent=self.spent,
            control="the votes themselves are kept: another formula can be applied to them",
            assumptions=[f"{setting}: {assumption}" for assumption in self.assumptions],
        )


def certified_correct(radii: NDArray[np.floating], right: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """The images whose right class is certified at a radius: bool (n,). An abstention is wrong."""
    if radii.shape != right.shape:
        raise InputError(f"{radii.shape} radii and {right.shape} decisions are not of the same images")
    return right & (radii >= radius)


def average_radius(radii: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Average certified radius (ACR): the mean over all images, 0 where it is wrong or abstains.

    >>> average_radius(np.array([0.5, 1.0, 0.7]), np.array([True, True, False]))
    0.5
    """
    return float(np.where(right, radii, 0.0).mean())


#: Bounds of one class in every branch, and sigma → radius.
Radius = Callable[[Sequence[float], float], float]


@dataclass(frozen=True)
class Goal:
    """The radius at which a decision is wanted, so that sampling may stop.

    Args:
        radius: l2, in [0, 1] pixel units; 0 needs the decision alone.
        futility: probability, over all looks, of giving up on an image although the goal could be proven. It costs
            certificates and never makes one wrong.
    """

    radius: float
    futility: float


@dataclass(frozen=True, eq=False)
class Counted:
    """What the votes of n images came to.

    Attributes:
        chosen: int64 (n,), the class that was chosen before the estimation.
        selection: int64 (n, b, k), votes that chose it, by branch.
        votes: int64 (n, b, k), votes of the estimation, which are others.
        samples: int64 (n,), of each branch in the estimation.
        lower: float64 (n, b), bounds of the chosen class's probability at the look that ended sampling.
        radius: float64 (n,), what they prove; at most 0 where they prove nothing.
    """

    chosen: Tensor
    selection: Tensor
    votes: Tensor
    samples: Tensor
    lower: Tensor
    radius: Tensor


def count(
    branches: Sequence[Branch],
    images: Tensor,
    *,
    sigma: float,
    selection: int,
    looks: Sequence[Look],
    class_count: int,
    rng: Randomness,
    goal: Goal | None = None,
    radius: Radius = proven_radius,
    chunk: int = CHUNK,
) -> Counted:
    """Choose a class for each image, and bound its probability in every branch.

    At each look, images whose decision is made leave: those whose goal is proven, and those whose upper bounds say that
    it hardly can be. Without a goal all samples are drawn.

    Args:
        branches: one, or two.
        images: prepared images (n, 3, h, w) in [0, 1].
        sigma: standard deviation of the noise.
        selection: samples that choose the class; they are never used again.
        looks: when bounds are taken, at which levels; see :mod:`snellen.methods.smoothing.bounds`.
        class_count: k.
        rng: bound to the images.
        goal: what is to be decided, if sampling may stop before the last look.
        radius: what bounds prove.
        chunk: noisy images in one pass.

    Raises:
        InputError: images, noise or numbers that cannot be used.
    """
    check_noise(images, sigma)
    if selection < 1:
        raise InputError(f"a class is chosen by at least one sample, got {selection}")
    if goal is not None:
        check_level(goal.futility)
        if goal.radius < 0:
            raise InputError(f"a radius is at least 0, got {goal.radius}")

    def drawn(rows: Tensor, first: int, last: int, stream: str) -> Tensor:
        part, own = images[rows], rng[rows]
        each = [
            hard_votes(
                branch, part, sigma=sigma, first=first, last=last, class_count=class_count, rng=own, stream=stream,
                chunk=chunk,
            )
            for branch in branches
        ]  # fmt: skip
        return torch.stack(each, 1)

    all_rows = torch.arange(len(images))
    chosen_by = drawn(all_rows, 0, selection, "selection")
    chosen = chosen_by.sum(1).argmax(1)
    shape = (len(images), len(branches))
    votes, samples = torch.zeros(*shape, class_count, dtype=torch.int64), torch.zeros(len(images), dtype=torch.int64)
    lower, proven = torch.zeros(shape, dtype=torch.float64), torch.zeros(len(images), dtype=torch.float64)
    open_, before = all_rows, 0
    for number, look in enumerate(looks):
        votes[open_] += drawn(open_, before, look.samples, "estimation")
        samples[open_], before = look.samples, look.samples
        level = look.level / len(branches)
        counts = votes[open_, :, chosen[open_]].tolist()
        bounds = [[lower_bound(n, look.samples, level) for n in of] for of in counts]
        radii = [radius(of, sigma) for of in bounds]
        lower[open_] = torch.tensor(bounds, dtype=torch.float64)
        proven[open_] = torch.tensor(radii, dtype=torch.float64)
        if goal is not None:
            decided = [
                _decided(goal, reached, of, look, len(looks), sigma, radius)
                for reached, of in zip(radii, counts, strict=True)
            ]
            open_ = open_[~torch.tensor(decided)]
        if not len(open_) or number == len(looks) - 1:
            break
    return Counted(chosen, chosen_by, votes, samples, lower, proven)


def _decided(
    goal: Goal, proven: float, counts: Sequence[int], look: Look, looks: int, sigma: float, radius: Radius
) -> bool:
    """Whether the goal is proven at a look, or out of reach."""
    if proven > goal.radius or (proven == goal.radius and goal.radius > 0):
        return True
    level = goal.futility / looks / len(counts)
    return radius([upper_bound(n, look.samples, level) for n in counts], sigma) < goal.radius


def significant_winner(votes: Tensor, samples: int, branches: int, alpha: float) -> int | None:
    """The class that has the most votes of all branches together, or None where chance could have made it so.

    Let c be the class of most probability summed over branches. If another one, j, has s votes more than c, then a sum
    of samples · branches independent differences within [−1, 1], of a mean of at most 0, has reached s, which by
    Hoeffding's inequality happens with probability exp(−s² / (2 samples branches)) at most. Of k classes there are
    k − 1 such j: a wrong class is returned with probability alpha at most. Needs no class chosen before.

    >>> [significant_winner(torch.tensor(votes), 100, 2, 0.001) for votes in ([180, 15, 5], [90, 80, 30])]
    [0, None]

    Args:
        votes: int (k,), summed over branches.
        samples: of each branch.
        branches: how many.
        alpha: error probability.
    """
    check_level(alpha)
    first, second = votes.double().topk(2).values.tolist()
    bound = (len(votes) - 1) * torch.tensor(-((first - second) ** 2) / (2 * samples * branches)).exp().item()
    return int(votes.argmax()) if bound <= alpha else None
