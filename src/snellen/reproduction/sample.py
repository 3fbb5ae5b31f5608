"""What an experiment returns: figures, and for a claim worth judging the value of every image behind one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TypeAlias

import numpy as np

from snellen.core.errors import SnellenError


@dataclass(frozen=True)
class Sample:
    """A figure that is the mean over images: accuracy, success, distance.

    Two samples of one seed with equally many values are paired, image by image.

    >>> Sample((1, 0, 1, 1)).mean
    0.75

    Attributes:
        values: one for each image, finite; 0 and 1 for a share.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or not all(math.isfinite(value) for value in self.values):
            raise SnellenError(f"a sample has one finite value or more, got {len(self.values)}; return None if missing")

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> Sample:
        """Of any sequence of numbers or truths."""
        return cls(tuple(float(value) for value in values))

    @property
    def mean(self) -> float:
        """The figure."""
        return float(np.mean(self.values))

    @property
    def share(self) -> bool:
        """Whether every value is 0 or 1."""
        return set(self.values) <= {0.0, 1.0}


#: A number, one for each image, or None: the experiment could not measure it, which is never a number.
Figure: TypeAlias = float | Sample | None


def mean_of(figure: Figure) -> float | None:
    """A figure as one number."""
    return figure.mean if isinstance(figure, Sample) else figure


def checked_figures(returned: object, whose: str, named: Mapping[str, str]) -> dict[str, Figure]:
    """What an experiment returned, as figures by name.

    Args:
        returned: by the experiment.
        whose: for messages.
        named: figures that must be there → who names them.

    Raises:
        SnellenError: no mapping, a number that is not finite, something else than a figure, or one that is named and
            not there.
    """
    if not isinstance(returned, Mapping):
        raise SnellenError(f"{whose} must return figures by name, got {type(returned).__name__}")
    found: dict[str, Figure] = {}
    for name, figure in returned.items():
        if figure is None or isinstance(figure, Sample):
            found[str(name)] = figure
        elif isinstance(figure, Real) and math.isfinite(figure):
            found[str(name)] = float(figure)
        else:
            raise SnellenError(
                f"{whose} must return finite numbers, samples, or None for what is missing; got {name!r} = {figure!r}"
            )
    for name, who in named.items():
        if name not in found:
            raise SnellenError(
                f"{whose} gave no figure {name!r}, which {who} names; it gave: {', '.join(sorted(found)) or 'none'}"
            )
    return found
