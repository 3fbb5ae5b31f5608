"""Wrong labels: any other class, or the class that a class is taken for."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.planted_defect import PlantedDefect, single_labels
from snellen.data.worlds.planting.row_draws import integer_by_id, uniform_by_id
from snellen.data.worlds.planting.truth import with_truth


class RandomLabelNoise(PlantedDefect):
    """Labels that became another class, all others alike (symmetric noise; Natarajan et al. 2013, Patrini et al. 2017).

    Each label is wrong with probability ``rate``, on its own: their number is binomial. (Elsewhere the true class may
    be drawn again, so that fewer labels than the rate says are wrong.)

    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(np.zeros((1000, 4, 4), dtype=np.uint8), np.arange(1000) % 10)
    >>> noisy = RandomLabelNoise(rate=0.2).plant(images, rng=Randomness(0))
    >>> bool(160 < (noisy.labels != images.labels).sum() < 240)
    True
    """

    name: ClassVar[str] = "random_label_noise"

    rate: float = Field(0.1, ge=0, le=1, description="probability that a label is wrong")

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """Make labels wrong; unknown labels stay unknown.

        Raises:
            InputError: there are no labels, fewer than two classes, or only test images.
        """
        labels, classes = single_labels(images, "label noise", least_classes=2)
        draws = self.draws(rng)
        wrong = self.rows_in_reach(images) & (labels >= 0) & (uniform_by_id(draws, images.ids, "wrong") < self.rate)
        step = 1 + integer_by_id(draws, images.ids, "class", classes - 1)
        return _relabelled(images, self.truth_key, labels, np.where(wrong, (labels + step) % classes, labels))


class PairwiseLabelNoise(PlantedDefect):
    """Labels that became the class that their class is taken for (pair flipping; Han et al. 2018).

    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(np.zeros((6, 4, 4), dtype=np.uint8), [0, 0, 1, 1, 2, 2])
    >>> PairwiseLabelNoise(rate=1.0).plant(images, rng=Randomness(0)).labels.tolist()
    [1, 1, 2, 2, 0, 0]
    >>> PairwiseLabelNoise(rate=1.0, pairs={0: 2}).plant(images, rng=Randomness(0)).labels.tolist()
    [2, 2, 1, 1, 2, 2]
    """

    name: ClassVar[str] = "pairwise_label_noise"

    rate: float = Field(0.1, ge=0, le=1, description="probability that the label of a class in pairs is wrong")
    pairs: dict[int, int] | None = Field(
        None, description="class → class that it is taken for; None: the next class, and the first after the last"
    )

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """Make labels wrong; unknown labels and those of classes without a pair stay.

        Raises:
            InputError: there are no labels, a pair names a class that is not there or itself, or only test images.
        """
        labels, classes = single_labels(images, "label noise", least_classes=2)
        taken_for = self._taken_for(classes)
        drawn = uniform_by_id(self.draws(rng), images.ids, "wrong") < self.rate
        wrong = self.rows_in_reach(images) & (labels >= 0) & drawn
        return _relabelled(images, self.truth_key, labels, np.where(wrong, taken_for[labels], labels))

    def _taken_for(self, classes: int) -> NDArray[np.int64]:
        if self.pairs is None:
            return (np.arange(classes, dtype=np.int64) + 1) % classes
        taken_for = np.arange(classes, dtype=np.int64)
        for known, other in self.pairs.items():
            if not (0 <= known < classes and 0 <= other < classes) or known == other:
                raise InputError(f"pairs: {known} → {other}; expected two different classes of 0 … {classes - 1}")
            taken_for[known] = other
        return taken_for


def _relabelled(images: ImageSet, key: str, before: NDArray[np.int64], after: NDArray[np.int64]) -> ImageSet:
    pairs = zip(before.tolist(), after.tolist(), strict=True)
    entries = [None if old == new else {"label": new, "label_before": old} for old, new in pairs]
    return with_truth(images, key, entries, labels=after)
