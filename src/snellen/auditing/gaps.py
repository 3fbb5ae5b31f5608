"""Are some images more often wrong than the rest: one test and one bound for classes, groups and slices alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from snellen.checks.per_image import PerImage
from snellen.metrics.clustered import clustered_difference
from snellen.metrics.exact_test import fisher_greater
from snellen.metrics.intervals import newcombe_difference
from snellen.metrics.power import detectable_drop


@dataclass(frozen=True, eq=False)
class ErrorGap:
    """Errors of some images beside those of the others.

    Attributes:
        inside, outside: shares of wrong decisions.
        inside_n, outside_n: images.
        p_value: one-sided, of a gap at least as large if there is none.
        lower: confidence → one-sided lower bound of inside − outside.
        costs: mean loss of an image inside and outside, as facts of a finding; none where errors cost alike.
    """

    inside: float
    outside: float
    inside_n: int
    outside_n: int
    p_value: float
    lower: Callable[[float], float]
    costs: Mapping[str, float] = field(default_factory=dict)

    def harm(self, confidence: float) -> float:
        """Lower bound of the share of all images that is lost for the gap."""
        return max(self.lower(confidence), 0.0) * self.inside_n / (self.inside_n + self.outside_n)


def error_gap(
    wrong: NDArray[np.bool_],
    member: NDArray[np.bool_],
    units: NDArray[np.int64] | None = None,
    lost: NDArray[np.float64] | None = None,
) -> ErrorGap | None:
    """Compare the errors of the members with those of the others; None when either are missing.

    Where every image is a unit of its own, Fisher's exact test decides, since it holds its level for small groups, and
    Newcombe's interval shows how much. Where units have several images, both come from the difference of means with a
    variance over units (:func:`snellen.metrics.clustered.clustered_difference`).

    >>> wrong = np.array([True] * 30 + [False] * 70 + [True] * 10 + [False] * 90)
    >>> gap = error_gap(wrong, np.arange(200) < 100)
    >>> round(gap.inside - gap.outside, 2), gap.p_value < 0.001, round(gap.lower(0.95), 3)
    (0.2, True, 0.108)

    Args:
        wrong: (n,), whether each decision is wrong.
        member: (n,), whether each image is a member.
        units: (n,), code of each image's unit; None when each is its own.
        lost: (n,) in [0, 1], what each decision loses where errors do not cost alike: then means of it are compared,
            with a variance over units.
    """
    inside_n = int(member.sum())
    outside_n = len(member) - inside_n
    if not inside_n or not outside_n:
        return None
    own, elsewhere = int(wrong[member].sum()), int(wrong[~member].sum())
    if units is None and lost is None:
        return ErrorGap(
            own / inside_n,
            elsewhere / outside_n,
            inside_n,
            outside_n,
            fisher_greater(own, inside_n, elsewhere, outside_n),
            lambda confidence: newcombe_difference(own, inside_n, elsewhere, outside_n, 2 * confidence - 1).low,
        )
    values = wrong.astype(np.float64) if lost is None else lost
    codes = (None, None) if units is None else (units[member], units[~member])
    found = clustered_difference(values[member], values[~member], *codes, pseudo_units=1.0)
    means = {"mean_loss": float(values[member].mean()), "mean_loss_elsewhere": float(values[~member].mean())}
    return ErrorGap(
        own / inside_n,
        elsewhere / outside_n,
        inside_n,
        outside_n,
        found.p_value(),
        lambda level: found.lower(level),
        {} if lost is None else means,
    )


def gap_sight(what: str, members: Mapping[str, NDArray[np.bool_]], known: PerImage) -> Callable[[float], str | None]:
    """What a comparison of each class or group with the others would have found, for the largest and the smallest.

    Args:
        what: they are: "class", "group".
        members: name → whether each image belongs, (n,).
        known: the images.
    """
    sizes = {name: _independent(member, known) for name, member in members.items()}
    order = sorted(sizes, key=lambda name: (-sizes[name], name))

    def words(alpha: float) -> str | None:
        parts = []
        for name in dict.fromkeys((order[0], order[-1])):
            member = members[name]
            share = float(known.correct[~member].mean()) if not member.all() else 1.0
            drop = detectable_drop(sizes[name], _independent(~member, known), share, alpha)
            size = f"{name}, {sizes[name]} {'image' if known.units is None else 'unit'}{'s' * (sizes[name] != 1)}"
            if drop is not None:
                parts.append(f"{100 * drop:.0f} points ({size})")
        if not parts:
            return None
        return f"a {what} whose accuracy lies below that of the others by {', or for the smallest '.join(parts)}"

    return words


def _independent(member: NDArray[np.bool_], known: PerImage) -> int:
    units = known.units_of(member)
    return int(member.sum()) if units is None else len(np.unique(units))
