"""How well a classifier's certainty distinguishes the images that it was trained on from others of the same class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.auroc import placements
from snellen.metrics.auroc_interval import area_bound, area_p_value
from snellen.metrics.intervals import Interval
from snellen.metrics.units import dense_codes

#: Fewer images of a class that nothing was trained on are no scale for those that something was.
FEWEST_OF_A_CLASS = 5


@dataclass(frozen=True, eq=False)
class MembershipArea:
    """A membership attack within each class, and how sure it is of the images that it was tried on.

    Attributes:
        area: probability that the classifier is surer of a training image than of another image of the same class,
            ties half, over the training images; 0.5: it cannot distinguish them.
        standard_error: by unit.
        units: of the smaller set.
        members: training images that were compared.
        non_members: other images that were compared.
        classes: that have enough images of both sorts.
        recognised: share of the members that are surer than all but 1 % of the other images of their class; NaN where
            no class has 100 of those.
    """

    area: float
    standard_error: float
    units: int
    members: int
    non_members: int
    classes: int
    recognised: float

    @property
    def p_value(self) -> float:
        """One-sided, of "the classifier is no surer of training images"."""
        return area_p_value(self.area, self.standard_error, self.units)

    @property
    def interval(self) -> Interval:
        """95 %, two-sided."""
        return Interval(self.lower(0.975), 1 - area_bound(1 - self.area, self.standard_error, self.units, 0.975))

    def lower(self, confidence: float) -> float:
        """One-sided lower bound of the area at a confidence in (0, 1)."""
        return area_bound(self.area, self.standard_error, self.units, confidence)


def certainty(scores: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Logit of the probability p of the true class, log p − log(1 − p), (n,): finite where p rounds to 1.

    Carlini et al., "Membership Inference Attacks From First Principles", S&P 2022, arXiv 2112.03570, section IV-C.

    >>> certainty([[2.0, 0.0], [0.0, 0.0]], [0, 1]).tolist()
    [2.0, 0.0]

    Args:
        scores: (n, k) logits, finite, of two classes or more.
        labels: integers (n,) in 0 … k−1.

    Raises:
        InputError: wrong shapes or values.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or values.shape[1] < 2 or truth.shape != values.shape[:1] or not np.isfinite(values).all():
        raise InputError(f"expected finite scores (n, k) of two classes or more, and labels (n,), got {values.shape}")
    if len(truth) and (truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= values.shape[1]):
        raise InputError(f"labels must be integers from 0 to {values.shape[1] - 1}; leave unknown ones out")
    rows = np.arange(len(values))
    others = values.copy()
    others[rows, truth] = -np.inf
    highest = others.max(1)
    return values[rows, truth] - highest - np.log(np.exp(others - highest[:, None]).sum(1))


def membership_area(
    members: ArrayLike,
    non_members: ArrayLike,
    member_labels: ArrayLike,
    non_member_labels: ArrayLike,
    *,
    member_units: NDArray[np.int64] | None = None,
    non_member_units: NDArray[np.int64] | None = None,
) -> MembershipArea | None:
    """Compare each training image with the other images of its class.

    The attack by a threshold on the loss (Yeom et al., CSF 2018, arXiv 1709.01604), with a threshold for each class as
    a shadow model would give it (Shokri et al., S&P 2017, arXiv 1610.05820): within a class, so that other shares of
    the classes in the two sets do not count as recognition. It needs no shadow models, and finds less than attacks
    that have them.

    >>> found = membership_area([3.0] * 9 + [0.5], [1.0] * 10, [0] * 10, [0] * 10)
    >>> found.area, found.p_value < 0.05
    (0.9, True)

    Args:
        members: certainty of each training image (n,), finite; higher is surer.
        non_members: of each other image (m,).
        member_labels, non_member_labels: their classes, integers.
        member_units, non_member_units: codes; images of one unit are dependent. None: each image is a unit.

    Returns:
        The area, or None where no class has :data:`FEWEST_OF_A_CLASS` images of both sorts.

    Raises:
        InputError: wrong shapes or values.
    """
    inside, outside = (np.asarray(one, dtype=np.float64) for one in (members, non_members))
    own, other = np.asarray(member_labels), np.asarray(non_member_labels)
    for values, labels in ((inside, own), (outside, other)):
        if values.ndim != 1 or values.shape != labels.shape or not np.isfinite(values).all():
            raise InputError(f"certainties must be finite (n,) with a label each, got {values.shape}, {labels.shape}")
    counted = [
        one for one in np.unique(own) if min(int((own == one).sum()), int((other == one).sum())) >= FEWEST_OF_A_CLASS
    ]
    if not counted:
        return None
    kept, beside = np.isin(own, counted), np.isin(other, counted)
    total = int(kept.sum())
    shares, moves = np.zeros(len(inside)), np.zeros(len(outside))
    recognised, judged = 0, 0
    for one in counted:
        mine, theirs = own == one, other == one
        surer, rival = inside[mine], outside[theirs]
        shares[mine] = placements(surer, rival)
        beaten = 1 - placements(rival, surer)
        moves[theirs] = (beaten - beaten.mean()) * len(surer) / (total * len(rival))
        if len(rival) >= 100:
            recognised += int((surer > np.sort(rival)[-1 - len(rival) // 100]).sum())
            judged += len(surer)
    area = float(shares[kept].mean())
    parts = (
        _Part.of((shares[kept] - area) / total, dense_codes(member_units, len(own))[kept]),
        _Part.of(moves[beside], dense_codes(non_member_units, len(other))[beside]),
    )
    return MembershipArea(
        area=area,
        standard_error=sum(part.variance for part in parts) ** 0.5,
        units=min(part.units for part in parts),
        members=total,
        non_members=int(beside.sum()),
        classes=len(counted),
        recognised=recognised / judged if judged else float("nan"),
    )


class _Part(NamedTuple):
    """What one of the two sets adds to the variance of the area."""

    variance: float
    units: int

    @classmethod
    def of(cls, influence: NDArray[np.float64], codes: NDArray[np.int64]) -> _Part:
        """Influences of images of one unit add up; a single unit shows no variance, and counts as knowing nothing."""
        units = len(np.unique(codes))
        if units == 1:
            return cls(0.25, 1)
        return cls(float((np.bincount(codes, influence) ** 2).sum()) * units / (units - 1), units)
