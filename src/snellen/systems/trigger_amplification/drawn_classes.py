"""Whether a generator draws the classes that are requested, by the classifier whose training images are scanned.

A generator of prompts takes any name. Images of a class that it does not know say nothing about poison, neither by a
cluster among them nor by its absence. What chance gives is how often the classifier names a class among images of the
other classes: a classifier may favour some classes. A generator of classes knows them by number. Where its images show
another class, that may be the poison itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.methods.scans.training_set import Inspected
from snellen.metrics.exact_test import fisher_greater

#: Images of all classes together that a generator of prompts is tried with, at least.
TRIED = 40

#: Rate at which a generator without the classes passes, and at which one of all classes is taken as drawn, at most.
LEVEL = 0.05

#: Orders of the predictions that the right ones are compared with.
ORDERS = 999


def tried_of_each(classes: int) -> int:
    """Images of each class of a trial.

    >>> tried_of_each(10), tried_of_each(3)
    (4, 14)
    """
    return math.ceil(TRIED / classes)


def match_p_value(labels: NDArray[np.int64], predictions: NDArray[np.int64]) -> float:
    """P value of "predictions do not depend on labels", by the number of equal ones.

    The predictions are put into :data:`ORDERS` random orders, always the same, so that what a classifier favours counts
    for nothing. With the order that was seen among them, the test holds its level for any number of images.

    >>> labels = np.repeat(np.arange(2), 20)
    >>> match_p_value(labels, labels), match_p_value(labels, np.zeros(40, dtype=np.int64))
    (0.001, 1.0)

    Args:
        labels: int64 (n,).
        predictions: int64 (n,).
    """
    rng, hits = np.random.default_rng(0), int((labels == predictions).sum())
    as_many = sum(int((labels == rng.permutation(predictions)).sum()) >= hits for _ in range(ORDERS))
    return (1 + as_many) / (1 + ORDERS)


def check_drawn(tried: Inspected, generator: str, classifier: str) -> None:
    """Refuse a generator in whose images the classifier sees the requested classes no more often than by chance.

    Of a single class only a generator is refused in whose images the class is never seen: nothing says how often the
    classifier names it elsewhere.

    Args:
        tried: a few generated images of each class, labelled with the class that was requested.
        generator: its name.
        classifier: its name.

    Raises:
        InputError: so it is.
    """
    labels, predictions = tried.labels, tried.predictions
    hits, count, alone = int((labels == predictions).sum()), len(labels), len(np.unique(labels)) < 2
    if hits and (alone or match_p_value(labels, predictions) <= LEVEL):
        return
    by_chance = sum(int((labels == one).sum()) * int((predictions == one).sum()) for one in set(labels.tolist()))
    expected = "" if alone else f", where {by_chance / count:.0f} are expected by chance"
    raise InputError(
        f"{generator} does not draw these classes: {classifier} sees the requested class in {hits} of {count} "
        f"generated images{expected}. Name a generator that was trained on these images, or a --prompt that it knows"
    )


def undrawn_classes(seen: Inspected) -> tuple[int, ...]:
    """Classes that the classifier names among their own images no more often than among those of the other classes.

    By Fisher's exact test, one-sided, at :data:`LEVEL` divided by the number of classes. A class without others beside
    it is compared with nothing, and is none of them.

    Args:
        seen: all generated images, labelled with the class that was requested.
    """
    known = np.unique(seen.labels[seen.labels >= 0])
    if len(known) < 2:
        return ()
    undrawn, level = list[int](), LEVEL / len(known)
    for label in seen.classes:
        own, named = seen.labels == label, seen.predictions == label
        others = (seen.labels >= 0) & ~own
        counts = (int(part.sum()) for part in (named & own, own, named & others, others))
        if fisher_greater(*counts) > level:
            undrawn.append(label)
    return tuple(undrawn)


def without_classes(seen: Inspected, undrawn: Collection[int]) -> Inspected:
    """The generated view without some classes, which then are not judged."""
    return replace(seen, classes={label: one for label, one in seen.classes.items() if label not in undrawn})
