"""Whether a generator draws the classes that are requested, by the classifier whose training images are scanned.

A generator of prompts takes any name. Images of a class that it does not know say nothing about poison, neither by a
cluster among them nor by its absence. Poison does not hide a class: a classifier that obeys the trigger sees the class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from snellen.core.errors import InputError
from snellen.methods.scans.training_set import Inspected
from snellen.metrics.intervals import wilson

#: Images of all classes together that a generator of prompts is tried with, at least.
TRIED = 40


def tried_of_each(classes: int) -> int:
    """Images of each class of a trial.

    >>> tried_of_each(10), tried_of_each(3)
    (4, 14)
    """
    return math.ceil(TRIED / classes)


def beyond_chance(hits: int, count: int, chance: float) -> bool:
    """Whether the lower end of the 95 % interval of a share lies above chance.

    >>> beyond_chance(8, 40, 0.1), beyond_chance(7, 40, 0.1)
    (True, False)
    """
    return wilson(hits, count)[0] > chance


def check_drawn(tried: Inspected, classes: Sequence[str], generator: str, classifier: str) -> None:
    """Refuse a generator in whose images the classifier sees the requested classes no more often than by chance.

    Args:
        tried: a few generated images of each class, labelled with the class that was requested.
        classes: of the classifier.
        generator: its name.
        classifier: its name.

    Raises:
        InputError: so it is.
    """
    hits, count = int((tried.labels == tried.predictions).sum()), len(tried.ids)
    if not beyond_chance(hits, count, 1 / len(classes)):
        raise InputError(
            f"{generator} does not draw these classes: {classifier} sees the requested class in {hits} of {count} "
            f"generated images, where {count / len(classes):.0f} are expected by chance. Name a generator that was "
            f"trained on these images, or a --prompt that it knows"
        )


def without_undrawn(seen: Inspected, classes: Sequence[str]) -> tuple[Inspected, tuple[int, ...]]:
    """The generated view without the classes that cannot be judged, and those classes.

    Args:
        seen: all generated images, labelled with the class that was requested.
        classes: of the classifier.
    """
    undrawn = []
    for label in seen.classes:
        rows = seen.labels == label
        if not beyond_chance(int((seen.predictions[rows] == label).sum()), int(rows.sum()), 1 / len(classes)):
            undrawn.append(label)
    judged = {label: one for label, one in seen.classes.items() if label not in undrawn}
    return replace(seen, classes=judged), tuple(undrawn)
