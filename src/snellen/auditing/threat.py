"""What an attacker may change, and how it is written: linf:8/255, l2:0.5."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from snellen.methods.attacks.norms import Norm


class Threat(BaseModel):
    """What an attacker may change.

    >>> Threat(norm="linf", size=8).label, round(Threat(norm="linf", size=8).epsilon, 5)
    ('linf.8', 0.03137)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    norm: Norm
    size: float = Field(gt=0, description="linf: grey levels out of 255; l2: length in [0, 1] pixel units")

    @property
    def epsilon(self) -> float:
        """In [0, 1] pixel units."""
        return self.size / 255 if self.norm == "linf" else self.size

    @property
    def label(self) -> str:
        """Part of metric and setting names."""
        return f"{self.norm}.{self.size:g}"

    @property
    def words(self) -> str:
        """For titles."""
        return f"at most {self.size:g}/255 in any pixel" if self.norm == "linf" else f"an L2 length of {self.size:g}"


def parse_threat(given: object) -> object:
    """A threat from its words, ``NORM:SIZE``; anything else is passed through.

    The size of ``linf`` is a share of the range of a pixel, as a fraction of 255 or a decimal; that of ``l2`` a length
    in [0, 1] pixel units.

    >>> parse_threat("linf:8/255"), parse_threat("l2:0.5").epsilon
    (Threat(norm='linf', size=8.0), 0.5)

    Raises:
        ValueError: other words.
    """
    if not isinstance(given, str):
        return given
    norm, _, size = given.partition(":")
    number, slash, whole = size.partition("/")
    try:
        epsilon = float(number) / (float(whole) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        epsilon = math.nan
    if norm not in ("linf", "l2") or not (0 < epsilon <= 1 or (norm == "l2" and epsilon > 0)):
        raise ValueError(
            f"a threat is written as linf:8/255 or l2:0.5, a norm and a size in pixel units; got {given!r}"
        )
    return Threat(norm=norm, size=round(epsilon * 255, 9) if norm == "linf" else epsilon)


def check_distinct(*groups: Sequence[Threat]) -> None:
    """See that no group holds a threat twice.

    Raises:
        ValueError: one does; as validators of parameters raise.
    """
    for threats in groups:
        labels = [threat.label for threat in threats]
        if len(set(labels)) != len(labels):
            raise ValueError(f"each threat only once, got {labels}")
