"""What a method may spend, and what it spent: queries, gradients, generator calls, tokens, seconds."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


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
