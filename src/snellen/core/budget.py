"""What a method may spend, and what it spent: queries, gradients, generator calls, tokens, seconds."""

from __future__ import annotations

import math
import re

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.errors import InputError

#: Seconds in each unit of time that a budget may be written in.
UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(time: float | str) -> float:
    """Seconds of a time as people write it: ``90s``, ``5m``, ``2h``; a number is seconds.

    >>> seconds_of("90s"), seconds_of("1.5h"), seconds_of(20)
    (90.0, 5400.0, 20.0)

    Raises:
        InputError: no such time, or none that is above zero.
    """
    fits = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([smh])", time.strip()) if isinstance(time, str) else None
    if fits is not None:
        seconds = float(fits[1]) * UNITS[fits[2]]
    elif isinstance(time, str):
        raise InputError(f"the budget {time!r} is no time; write a number with its unit: 90s, 5m or 2h")
    else:
        seconds = float(time)
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"a budget must be a time above zero, got {time!r}")
    return seconds


def time_words(seconds: float) -> str:
    """A time for people, of two digits at least.

    >>> time_words(0.42), time_words(90), time_words(300), time_words(9000)
    ('0.42 s', '90 s', '5 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


class Spent(BaseModel):
    """What was spent; adds up.

    A *query* is one image through the classifier, a *gradient* one image through its backward pass. Seconds are a
    clock reading: they go to ``timing.json``, never into results that must be reproducible.

    >>> Spent(queries=3) + Spent(queries=2, gradients=1)
    Spent(queries=5, gradients=1, generator_calls=0, tokens=0, seconds=0.0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: int = Field(0, ge=0, description="images through the classifier")
    gradients: int = Field(0, ge=0, description="images through its backward pass")
    generator_calls: int = Field(0, ge=0, description="images through one call of a generator network")
    tokens: int = Field(0, ge=0, description="tokens of a language model, prompt and reply")
    seconds: float = Field(0.0, ge=0, description="wall clock, seconds")

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            queries=self.queries + other.queries,
            gradients=self.gradients + other.gradients,
            generator_calls=self.generator_calls + other.generator_calls,
            tokens=self.tokens + other.tokens,
            seconds=self.seconds + other.seconds,
        )

    def counts(self) -> dict[str, int]:
        """The reproducible part: everything but the seconds."""
        return {name: value for name, value in self.model_dump().items() if name != "seconds"}


class Budget(BaseModel):
    """An upper limit on what may be spent; ``None`` is no limit.

    >>> Budget(queries=100).exceeded(Spent(queries=120, gradients=7))
    ['queries: 120 spent, 100 allowed']
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: int | None = Field(None, ge=0, description="images through the classifier")
    gradients: int | None = Field(None, ge=0, description="images through its backward pass")
    generator_calls: int | None = Field(None, ge=0, description="images through one call of a generator network")
    tokens: int | None = Field(None, ge=0, description="tokens of a language model, prompt and reply")
    seconds: float | None = Field(None, ge=0, description="wall clock, seconds")

    def exceeded(self, spent: Spent) -> list[str]:
        """Name each limit that was passed; an empty list says that all hold."""
        limits = {name: value for name, value in self.model_dump().items() if value is not None}
        used = spent.model_dump()
        return [f"{name}: {used[name]} spent, {limit} allowed" for name, limit in limits.items() if used[name] > limit]
