"""Values that follow the class, more or less: what makes a shortcut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.planted_defect import integer_by_id, uniform_by_id

#: planted: the class's own value with the probability ``strength``, else one of the others; aligned: always its own;
#: conflicting: always one of the others; neutral: each value alike, whatever the class.
Correlation = Literal["planted", "aligned", "conflicting", "neutral"]


@dataclass(frozen=True, eq=False)
class Correlated:
    """Values of rows.

    Attributes:
        values: position of each row's value in the values by class (of the first class that has it), int64 (n,).
        aligned: whether it is the own value of the row's class, bool (n,).
    """

    values: NDArray[np.int64]
    aligned: NDArray[np.bool_]


def correlate(
    labels: NDArray[np.int64],
    values_by_class: Sequence[str],
    *,
    strength: float,
    correlation: Correlation,
    ids: Sequence[str],
    rng: Randomness,
) -> Correlated:
    """Give each row a value that follows its class.

    With v different values, a strength of 1 / v is no correlation. A row's value depends on the seed, its id and its
    class alone, and a row that is aligned at one strength is aligned at every higher one.

    >>> labels = np.array([0, 1, 1])
    >>> found = correlate(labels, ["grass", "sand"], strength=1, correlation="planted", ids="abc", rng=Randomness(0))
    >>> found.values.tolist(), found.aligned.tolist()
    ([0, 1, 1], [True, True, True])

    Args:
        labels: (n,), each with a value in ``values_by_class``.
        values_by_class: own value of each class; classes may share one.
        strength: in [0, 1].
        correlation: see :data:`Correlation`.
        ids: of the rows (n).
        rng: which rows are aligned, and what others get.

    Raises:
        InputError: fewer than two different values.
    """
    pool = list(dict.fromkeys(values_by_class))
    if len(pool) < 2:
        raise InputError(f"a shortcut needs at least two different values; got {', '.join(pool) or 'none'}")
    first = np.asarray([values_by_class.index(value) for value in pool], dtype=np.int64)
    own = np.asarray([pool.index(value) for value in values_by_class], dtype=np.int64)[labels]
    drawn = uniform_by_id(rng, ids, "aligned")
    if correlation == "neutral":
        values = integer_by_id(rng, ids, "value", len(pool))
    else:
        level = {"planted": strength, "aligned": 1.0, "conflicting": 0.0}[correlation]
        step = 1 + integer_by_id(rng, ids, "other", len(pool) - 1)
        values = np.where(drawn < level, own, (own + step) % len(pool))
    return Correlated(first[values], values == own)
