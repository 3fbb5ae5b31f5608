"""Searches whose evaluations come from a table: NASBench-101, and any space with its results kept and noise added.

The noise is Gaussian with one standard deviation for all candidates, added to the validation score, and a function of
candidate, run and seed: an evaluation that is repeated with the same run is the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic

from snellen.core.errors import InputError
from snellen.core.randomness import derive_seed
from snellen.reproduction.functional_hashing.nasbench import TableEntry
from snellen.systems.functional_hashing import cells
from snellen.systems.functional_hashing.cells import Cell
from snellen.systems.functional_hashing.function_cache import Evaluation
from snellen.systems.functional_hashing.space import Candidate, Space


def with_noise(found: Evaluation, deviation: float, seed: int, structure: str, run: int) -> Evaluation:
    """An evaluation with noise on its validation score."""
    if deviation < 0:
        raise InputError(f"a standard deviation is at least 0; got {deviation}")
    draw = random.Random(derive_seed(seed, "noise", structure, run)).gauss(0.0, 1.0)  # noqa: S311
    return Evaluation(found.valid + deviation * draw, found.test, found.seconds)


@dataclass(frozen=True, eq=False)
class TableSpace:
    """Cells of NASBench-101; seconds are those of the table, so a search has a simulated clock.

    Args:
        table: by canonical cell.
        deviation: of the noise.
        seed: of the noise.
    """

    table: Mapping[str, TableEntry]
    deviation: float = 0.0
    seed: int = 0
    worst: float = 0.0

    def sample(self, rng: random.Random) -> Cell:
        """A random valid cell."""
        return cells.sample(rng)

    def mutate(self, candidate: Cell, rng: random.Random) -> Cell:
        """A valid neighbour."""
        return cells.mutate(candidate, rng)

    def structure(self, candidate: Cell) -> str:
        """The pruned cell, the same for isomorphic ones."""
        return cells.canonical(candidate).encode()

    def encode(self, candidate: Cell) -> str:
        """The cell in one line."""
        return candidate.encode()

    def probe(self, candidate: Cell, seed: int) -> Sequence[float]:
        """Accuracies of the first short run; the seed is part of the table."""
        return self._entry(candidate).probe

    def evaluate(self, candidate: Cell, run: int) -> Evaluation:
        """A long run; the index counts through those of the table."""
        runs = self._entry(candidate).runs
        found = runs[run % len(runs)]
        known = Evaluation(found.valid, found.test, found.seconds)
        return with_noise(known, self.deviation, self.seed, self.structure(candidate), run)

    def _entry(self, candidate: Cell) -> TableEntry:
        structure = self.structure(candidate)
        if structure not in self.table:
            raise InputError(f"the table has no cell {structure}")
        return self.table[structure]


@dataclass(frozen=True, eq=False)
class KeptSpace(Generic[Candidate]):
    """A space whose evaluations are made once for each structure and kept for all searches; runs differ by noise alone.

    Args:
        space: that is evaluated.
        deviation: of the noise.
        seed: of the noise.
        kept: evaluations by structure, which several such spaces may share.
        seconds: charged for an evaluation; None: those that it took.
        clock: measures evaluations; None leaves that to the space.
    """

    space: Space[Candidate]
    deviation: float = 0.0
    seed: int = 0
    kept: dict[str, Evaluation] = field(default_factory=dict)
    seconds: float | None = None
    clock: Callable[[], float] | None = None

    @property
    def worst(self) -> float:
        """Fitness of a candidate that cannot be run."""
        return self.space.worst

    def sample(self, rng: random.Random) -> Candidate:
        """As the space."""
        return self.space.sample(rng)

    def mutate(self, candidate: Candidate, rng: random.Random) -> Candidate:
        """As the space."""
        return self.space.mutate(candidate, rng)

    def structure(self, candidate: Candidate) -> str:
        """As the space."""
        return self.space.structure(candidate)

    def encode(self, candidate: Candidate) -> object:
        """As the space."""
        return self.space.encode(candidate)

    def probe(self, candidate: Candidate, seed: int) -> Sequence[float]:
        """As the space."""
        return self.space.probe(candidate, seed)

    def true(self, candidate: Candidate) -> Evaluation:
        """The evaluation without noise: of run 0."""
        structure = self.structure(candidate)
        if structure not in self.kept:
            started = 0.0 if self.clock is None else self.clock()
            found = self.space.evaluate(candidate, 0)
            self.kept[structure] = found if self.clock is None else replace(found, seconds=self.clock() - started)
        return self.kept[structure]

    def evaluate(self, candidate: Candidate, run: int) -> Evaluation:
        """The kept evaluation, with the noise of this run."""
        found = self.true(candidate)
        if self.seconds is not None:
            found = replace(found, seconds=self.seconds)
        return with_noise(found, self.deviation, self.seed, self.structure(candidate), run)
