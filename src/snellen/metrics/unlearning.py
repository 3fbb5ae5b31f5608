"""Figures of unlearning: forgotten, remaining and test images right or wrong, a membership attack, gaps and overlaps.

Fan, Liu, Hero and Liu, "Challenging Forgets", ECCV 2024, arXiv 2403.07362, section 5: unlearning accuracy UA = 1 −
accuracy on the forget set, RA on the remaining images, TA on test images, and MIA, the share of forget images that a
membership attack calls non-members. The mean gap is over these four.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.auroc import auroc
from snellen.metrics.scalar_svm import fit_scalar_svm

#: The figures that a gap is a mean over.
FOUR = ("unlearning", "membership", "remaining", "test")

#: Most members, and non-members, that the attack is fitted to: its time grows with their square.
MOST = 1_000


class Membership(NamedTuple):
    """Result of a membership attack on forget images.

    Attributes:
        non_member: whether it calls each forget image a non-member, bool (m,).
        fitted_to: members, and as many non-members, that it was fitted to.
        auroc: area under the ROC curve of forget images against non-members by the probability of the true class, in
            [0, 1]; 0.5: it does not distinguish them, above: the network is surer of forget images.
    """

    non_member: NDArray[np.bool_]
    fitted_to: int
    auroc: float


def membership_attack(
    members: ArrayLike, non_members: ArrayLike, forgotten: ArrayLike, *, penalty: float = 3.0, seed: int = 0
) -> Membership:
    """Fit a support vector machine to the probability of the true class, and ask it for the forget images.

    As published: a Gaussian kernel, C = 3, γ = 1, as many members as non-members, and no forget image among them. Ours:
    both are drawn by a seed, at most :data:`MOST` of each; the published code takes the first rows of a file, which may
    be of one class.

    >>> sure, unsure = [0.9, 0.95, 0.99, 0.97], [0.2, 0.3, 0.25, 0.4]
    >>> membership_attack(sure, unsure, [0.96, 0.3]).non_member.tolist()
    [False, True]

    Args:
        members: probabilities of the true class of remaining training images, (n,).
        non_members: of images that nothing was trained on, (t,).
        forgotten: of the forget images, (m,); it is not fitted to them.
        penalty: C.
        seed: of the draw.

    Raises:
        InputError: an empty set, or probabilities that are not finite.
    """
    inside, outside, asked = (np.asarray(one, dtype=np.float64) for one in (members, non_members, forgotten))
    if not len(inside) or not len(outside) or not len(asked):
        raise InputError(
            f"a membership attack needs remaining, test and forget images; got {len(inside)}, {len(outside)} and "
            f"{len(asked)}"
        )
    count = min(len(inside), len(outside), MOST)
    rng = np.random.default_rng(seed)
    fitted = [one[np.sort(rng.permutation(len(one))[:count])] for one in (inside, outside)]
    machine = fit_scalar_svm(np.concatenate(fitted), np.arange(2 * count) < count, penalty=penalty)
    labels = np.arange(len(asked) + len(outside)) < len(asked)
    return Membership(machine.decide(asked) <= 0, count, auroc(labels, np.concatenate([asked, outside])))


def average_gap(method: Mapping[str, float], exact: Mapping[str, float]) -> float:
    """Mean of the absolute differences of :data:`FOUR` to exact retraining without the same forget set, in [0, 1].

    >>> exact = {"unlearning": 0.05, "membership": 0.1, "remaining": 1.0, "test": 0.9}
    >>> round(average_gap({**exact, "unlearning": 0.25}, exact), 4)
    0.05
    """
    return float(np.mean([abs(method[name] - exact[name]) for name in FOUR]))


def set_overlap(first: Collection[Hashable], second: Collection[Hashable]) -> float:
    """Share of the smaller set that lies in the other, in [0, 1].

    >>> set_overlap({1, 2, 3}, {2, 3, 4})
    0.6666666666666666

    Raises:
        InputError: an empty set.
    """
    one, other = set(first), set(second)
    if not one or not other:
        raise InputError("an overlap needs two sets with members, and one is empty")
    return len(one & other) / min(len(one), len(other))
