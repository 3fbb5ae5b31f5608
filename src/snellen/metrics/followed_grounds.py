"""Do decisions follow what lies behind the object: each ground's class, learned from other images before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.metrics.clustered import clustered_mean
from snellen.metrics.incomplete_beta import student_t_probability


@dataclass(frozen=True, eq=False)
class FollowedGrounds:
    """Decisions about objects before the grounds of other images.

    That other grounds cost right decisions is no shortcut: any cut edge does. A shortcut is grounds that have a class
    of their own, for any object before them. The class of a ground is the decision most frequent among the *other*
    objects before it; a decision follows the ground where it is that class, and the object is of another one. It is
    compared with what a ground does that is merely as hard: as many wrong decisions, spread over the classes as the
    wrong decisions about objects of the same label are before any ground.

    Many classifiers have one class that they fall back to where they see little. Grounds that are merely hard then seem
    to have that class. So the test leaves out the class that is followed most: it takes grounds of two classes.

    Attributes:
        ground_class: int64 (m,), class of each pair's ground without that pair, −1 where nothing else stood before it.
        informative: bool (m,), whether that class is known and is not the object's own.
        follows: bool (m,), whether the decision is that class; False for a pair that is not informative.
        expected: float64 (m,), chance that it would be before a ground that is merely as hard; 0 for other pairs.
        p_value: one-sided, under the null that decisions follow no more than that, without the class that is followed
            most; Student's t with the variance of pairs that share images or grounds (Cameron, Gelbach and Miller 2011,
            equation 2.11).
    """

    ground_class: NDArray[np.int64]
    informative: NDArray[np.bool_]
    follows: NDArray[np.bool_]
    expected: NDArray[np.float64]
    p_value: float

    @classmethod
    def of(
        cls,
        labels: NDArray[np.int64],
        decisions: NDArray[np.int64],
        grounds: NDArray[np.int64],
        images: NDArray[np.int64],
        classes: int,
    ) -> FollowedGrounds:
        """Count and test.

        >>> labels, grounds = np.arange(400) % 2, np.arange(400) // 2 % 40
        >>> FollowedGrounds.of(labels, grounds % 2, grounds, np.arange(400), 2).p_value < 1e-3
        True
        >>> FollowedGrounds.of(labels, labels, grounds, np.arange(400), 2).p_value
        1.0

        Args:
            labels: (m,), the object's class in each pair of object and ground.
            decisions: (m,), −1 where there is none.
            grounds: (m,), which ground.
            images: (m,), which object.
            classes: number of classes k, at least 2.
        """
        _, place, met = np.unique(grounds, return_inverse=True, return_counts=True)
        decided, wrong = decisions >= 0, decisions != labels
        counts = np.bincount(place[decided] * classes + decisions[decided], minlength=len(met) * classes)
        others = counts.reshape(-1, classes)[place]
        others[decided, decisions[decided]] -= 1
        ground_class = np.where(others.max(1) > 0, others.argmax(1), -1)
        informative = (ground_class >= 0) & (ground_class != labels)
        follows = informative & (decisions == ground_class)
        # Of the other pairs alone, so that a decision is no evidence for what is expected of it.
        hardness = (np.bincount(place, wrong)[place] - wrong) / np.maximum(met[place] - 1, 1)
        taken = np.zeros((classes, classes))
        np.add.at(taken, (labels[decided & wrong], decisions[decided & wrong]), 1)
        own = follows.astype(np.float64)
        target = np.maximum(ground_class, 0)
        among_wrong = (taken[labels, target] - own + 1 / (classes - 1)) / (taken.sum(1)[labels] - (decided & wrong) + 1)
        expected = np.where(informative, hardness * among_wrong, 0.0)
        excess = follows - expected
        most = int(np.bincount(target, excess, classes).argmax())
        rest = np.where(target == most, 0.0, excess)
        by_image, by_ground, alone = (clustered_mean(rest, units) for units in (images, place, None))
        variance = by_image.standard_error**2 + by_ground.standard_error**2 - alone.standard_error**2
        freedom = min(by_image.degrees_of_freedom, by_ground.degrees_of_freedom)
        p_value = (
            student_t_probability(by_image.value / variance**0.5, freedom) if variance > 0 and freedom > 0 else 1.0
        )
        return cls(ground_class, informative, follows, expected, p_value)
