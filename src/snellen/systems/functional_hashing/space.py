"""What a search needs of a space of candidates: drawn, changed, compared by structure, run on a probe, evaluated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from snellen.systems.functional_hashing.function_cache import Evaluation

Candidate = TypeVar("Candidate")


class Space(Protocol[Candidate]):
    """Candidates of one representation: graphs, programs, formulas."""

    @property
    def worst(self) -> float:
        """Fitness of a candidate that cannot be run."""
        ...

    def sample(self, rng: random.Random) -> Candidate:
        """Draw a valid candidate."""
        ...

    def mutate(self, candidate: Candidate, rng: random.Random) -> Candidate:
        """A valid neighbour of a candidate."""
        ...

    def structure(self, candidate: Candidate) -> str:
        """One text for all candidates that are the same but for names, order and unused parts."""
        ...

    def probe(self, candidate: Candidate, seed: int) -> Sequence[float]:
        """Outputs of a few steps on a few examples, under conditions that are the same for every candidate.

        Anything may be raised: such a candidate has failed.
        """
        ...

    def evaluate(self, candidate: Candidate, run: int) -> Evaluation:
        """Train and measure; ``run`` is the index of an independent repetition."""
        ...

    def encode(self, candidate: Candidate) -> Any:  # noqa: ANN401 - any JSON value
        """The candidate as a JSON value, as it was drawn."""
        ...
