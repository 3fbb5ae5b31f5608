"""Figures of each group of images, such as a hospital or a camera: the worst one, and how far groups lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.intervals import Interval, clopper_pearson, newcombe_difference, wilson


class GroupShare(NamedTuple):
    """Share of successes of one group.

    Attributes:
        name: the group.
        successes: images that succeed.
        n: images of the group, at least 1.
        share: successes / n.
        interval: of the share.
    """

    name: str
    successes: int
    n: int
    share: float
    interval: Interval


class GroupGap(NamedTuple):
    """A group against all other images.

    Attributes:
        name: the group.
        difference: share of the group − share of the rest, in [−1, 1].
        interval: of the difference.
    """

    name: str
    difference: float
    interval: Interval


@dataclass(frozen=True, eq=False)
class GroupCounts:
    """Successes and images of each group; adds up over shards, also where a shard lacks a group.

    Groups are sorted by name and counted in whole numbers, so that no order can change a bit. Intervals take images as
    independent; where several come from one patient or video, they are too narrow.

    >>> counts = GroupCounts.of(["A", "A", "B"], [1, 0, 1]) + GroupCounts.of(["B", "C"], [1, 0])
    >>> counts.names, counts.share.tolist(), counts.spread
    (('A', 'B', 'C'), [0.5, 1.0, 0.0], 1.0)
    >>> counts.worst().name, counts.largest_gap().name
    ('C', 'C')

    Attributes:
        names: the groups, sorted.
        successes: int64 (g,), images of each that succeed, such as right predictions.
        images: int64 (g,), images of each.
    """

    names: tuple[str, ...]
    successes: NDArray[np.int64]
    images: NDArray[np.int64]

    @classmethod
    def of(cls, groups: Sequence[str], successes: ArrayLike) -> GroupCounts:
        """Count images.

        Args:
            groups: (n,) names; leave out images without one.
            successes: (n,) bool or integers 0 and 1.

        Raises:
            InputError: wrong shapes or values.
        """
        won = np.asarray(successes)
        if isinstance(groups, str):
            raise InputError(f"groups are a sequence of names, got the one text {groups[:20]!r}")
        if won.ndim != 1 or len(groups) != len(won):
            raise InputError(f"{len(groups)} groups came with successes {won.shape}; one for each image is needed")
        if len(won) and (won.dtype.kind not in "biu" or not np.isin(won, (0, 1)).all()):
            raise InputError("successes must be true or false (1 or 0) for each image")
        wrong = [name for name in groups if not isinstance(name, str)]
        if wrong:
            raise InputError(f"groups are named by text, got {wrong[0]!r}; leave images without a group out")
        names = tuple(sorted({str(name) for name in set(groups)}))
        index = {name: place for place, name in enumerate(names)}
        place = np.fromiter((index[name] for name in groups), dtype=np.int64, count=len(groups))
        return _gathered(names, place, won.astype(np.int64), np.ones(len(won), dtype=np.int64))

    def __add__(self, other: GroupCounts) -> GroupCounts:
        names = tuple(sorted({*self.names, *other.names}))
        index = {name: place for place, name in enumerate(names)}
        place = np.array([index[name] for name in (*self.names, *other.names)], dtype=np.int64)
        return _gathered(
            names,
            place,
            np.concatenate((self.successes, other.successes)),
            np.concatenate((self.images, other.images)),
        )

    @property
    def n(self) -> int:
        """Images in all."""
        return int(self.images.sum())

    @property
    def share(self) -> NDArray[np.float64]:
        """Share of successes of each group, (g,)."""
        return self.successes / self.images

    def intervals(self, confidence: float = 0.95) -> list[Interval]:
        """Wilson interval of each group's share, each on its own."""
        return [wilson(int(won), int(n), confidence) for won, n in zip(self.successes, self.images, strict=True)]

    def worst(self, *, confidence: float = 0.95, least: int = 1, simultaneous: bool = True) -> GroupShare | None:
        """The group of the lowest share; of equal ones the largest, then the first by name.

        The lowest of many shares is low by luck too. The interval is therefore exact (Clopper and Pearson) at the
        confidence 1 − (1 − confidence)/g (Bonferroni over g groups), and holds at least as often as it says whichever
        group turns out worst. Wilson's would not: so far out in the tail, with shares near 1 and small groups, it holds
        the true share in fewer than half of samples.

        Args:
            confidence: in (0, 1).
            least: groups of fewer images are left out.
            simultaneous: false for the Wilson interval that would hold had the group been named beforehand.

        Returns:
            The group; None when no group is large enough.

        Raises:
            InputError: confidence or least out of range.
        """
        chosen = self._large(least)
        level = _corrected(confidence, len(chosen) if simultaneous else 1)
        interval = clopper_pearson if simultaneous else wilson
        if not chosen:
            return None
        share = self.share
        place = min(chosen, key=lambda one: (share[one], -self.images[one], self.names[one]))
        won, n = int(self.successes[place]), int(self.images[place])
        return GroupShare(self.names[place], won, n, won / n, interval(won, n, level))

    def gaps(self, *, confidence: float = 0.95, least: int = 1, simultaneous: bool = True) -> list[GroupGap]:
        """Each group against all other images, the largest difference in size first, then by name.

        Intervals are Newcombe's for independent shares, at 1 − (1 − confidence)/g each when simultaneous. They are
        approximate, least good for small groups with shares near 0 or 1.

        Args:
            confidence: in (0, 1).
            least: groups of fewer images get no gap, but belong to the rest of others.
            simultaneous: whether all intervals are to hold at once.

        Returns:
            One gap for each group; none when there are fewer than two groups.

        Raises:
            InputError: confidence or least out of range.
        """
        chosen = self._large(least) if len(self.names) > 1 else []
        level = _corrected(confidence, len(chosen) if simultaneous else 1)
        total, won_in_all = self.n, int(self.successes.sum())
        found = []
        for one in chosen:
            won, n = int(self.successes[one]), int(self.images[one])
            rest = won_in_all - won, total - n
            difference = won / n - rest[0] / rest[1]
            found.append(GroupGap(self.names[one], difference, newcombe_difference(won, n, *rest, level)))
        return sorted(found, key=lambda gap: (-abs(gap.difference), gap.name))

    def largest_gap(self, *, confidence: float = 0.95, least: int = 1, simultaneous: bool = True) -> GroupGap | None:
        """The first of :meth:`gaps`; None when there are fewer than two groups, or none is large enough."""
        return next(iter(self.gaps(confidence=confidence, least=least, simultaneous=simultaneous)), None)

    @property
    def spread(self) -> float:
        """Largest share − smallest share, in [0, 1]; NaN without groups. It grows with the number of small groups."""
        return float(self.share.max() - self.share.min()) if self.names else float("nan")

    def _large(self, least: int) -> list[int]:
        if least < 1:
            raise InputError(f"a group needs at least one image, got least={least}")
        return [int(one) for one in np.flatnonzero(self.images >= least)]


def _corrected(confidence: float, groups: int) -> float:
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies strictly between 0 and 1, got {confidence}")
    return 1 - (1 - confidence) / max(groups, 1)


def _gathered(
    names: tuple[str, ...], place: NDArray[np.int64], successes: NDArray[np.int64], images: NDArray[np.int64]
) -> GroupCounts:
    sums = np.zeros((2, len(names)), dtype=np.int64)
    np.add.at(sums[0], place, successes)
    np.add.at(sums[1], place, images)
    return GroupCounts(names, sums[0], sums[1])
