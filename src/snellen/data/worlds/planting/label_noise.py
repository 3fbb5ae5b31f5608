"""Wrong labels: any other class, the class that a class is taken for, or one that depends on what the image shows."""

from __future__ import annotations

from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.planted_defect import PlantedDefect, integer_by_id, single_labels, uniform_by_id
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


#: Side of the small pictures that stand for images, pixels, and largest deviation of the rates of images.
_SIDE, _SPREAD = 8, 0.1


class ImageDependentLabelNoise(PlantedDefect):
    """Labels that became the class that the image resembles in a random projection.

    After Xia et al. 2020, "Part-dependent label noise", algorithm 2: the rate q of an image is normal about ``rate``
    with a deviation of 0.1, cut off to [0, 1]; the label becomes class j with the probability q · softmax(xᵀ W_y)_j
    over the other classes, where W_y is a random matrix of the image's class. Here x is the image on 8 × 8 pixels,
    −0.5 to 0.5, so that images of any size have one, and the deviation is at most half of what lies between the rate
    and 0 or 1: cutting off 0.1 about a rate of 0.05 would double it.

    Decodes every image that has a label, once. Images that cannot be decoded keep their label.

    >>> from snellen.data.files.arrays import load_arrays
    >>> pixels = np.random.default_rng(0).integers(0, 256, (500, 8, 8, 3), dtype=np.uint8)
    >>> images = load_arrays(pixels, np.arange(500) % 5)
    >>> noisy = ImageDependentLabelNoise(rate=0.4).plant(images, rng=Randomness(0))
    >>> bool(0.3 < (noisy.labels != images.labels).mean() < 0.5)
    True
    """

    name: ClassVar[str] = "image_dependent_label_noise"

    rate: float = Field(0.2, ge=0, le=1, description="centre of the probabilities that a label is wrong")

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """Make labels wrong; unknown labels stay unknown.

        Raises:
            InputError: there are no labels, fewer than two classes, or only test images.
        """
        labels, classes = single_labels(images, "label noise", least_classes=2)
        draws = self.draws(rng)
        rates = self.rates_of_images(uniform_by_id(draws, images.ids, "rate"))
        threshold = uniform_by_id(draws, images.ids, "class")
        projections = [_projection(label, classes, draws) for label in range(classes)]
        after = labels.copy()
        for row in np.flatnonzero(self.rows_in_reach(images) & (labels >= 0)).tolist():
            small = _small(images, row)
            if small is not None:
                chances = _chances(small @ projections[labels[row]], int(labels[row])) * rates[row]
                chances[labels[row]] = 1 - rates[row]
                # Rounding may leave the sum a hair below the threshold.
                after[row] = min(int(np.searchsorted(np.cumsum(chances), threshold[row], side="right")), classes - 1)
        pairs = zip(labels.tolist(), after.tolist(), rates.tolist(), strict=True)
        entries = [
            None if old == new else {"label": new, "label_before": old, "rate": round(rate, 6)}
            for old, new, rate in pairs
        ]
        return with_truth(images, self.truth_key, entries, labels=after)

    def rates_of_images(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rates q of images, of the shape of ``draws`` in [0, 1): normal about the rate, cut off to [0, 1]."""
        deviation = min(_SPREAD, self.rate / 2, (1 - self.rate) / 2)
        if deviation == 0:
            return np.full(draws.shape, self.rate)
        normal = NormalDist(self.rate, deviation)
        low, high = normal.cdf(0), normal.cdf(1)
        tiny = 1e-12  # the inverse is not defined at 0 and 1
        shares = np.clip(low + draws * (high - low), tiny, 1 - tiny)
        return np.clip([normal.inv_cdf(share) for share in shares.tolist()], 0, 1)


def _chances(scores: NDArray[np.float64], label: int) -> NDArray[np.float64]:
    """What share of an image's noise goes to each class, (K,): none to its own."""
    others = np.where(np.arange(len(scores)) == label, -np.inf, scores)
    chances: NDArray[np.float64] = np.exp(others - others.max())
    return chances / chances.sum()


def _projection(label: int, classes: int, draws: Randomness) -> NDArray[np.float64]:
    """W of a class: standard normal, float64 (192, K)."""
    seed = draws.generator(f"projection of class {label}").initial_seed()
    return np.random.default_rng(seed).normal(size=(3 * _SIDE**2, classes))


def _small(images: ImageSet, row: int) -> NDArray[np.float64] | None:
    try:
        picture = images.read(row)
    except RejectedImageError:
        return None
    return np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float64).ravel() / 255 - 0.5
