"""What workers that evaluate candidates ahead of their turn can gain, counted in trainings one after the other.

    python benchmarks/looking_ahead.py [--candidates 400]

Every training takes one unit of a clock that only trainings move. Fitness is a hash of the candidate. So the figures do
not depend on the processor, nor on what else it does. A search with workers is compared with one without.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any

from snellen.data.references import load_images
from snellen.runs import ahead
from snellen.systems.functional_hashing import function_cache
from snellen.systems.functional_hashing.cell_space import CellSettings, CellSpace
from snellen.systems.functional_hashing.cells import Cell
from snellen.systems.functional_hashing.search_work import Searched

#: Strategy, population and tournament.
SEARCHES = (("random", 100, 10), ("evolution", 100, 10), ("evolution", 20, 5), ("elitism", 100, 10))
WORKERS = (2, 4, 8)


def fitness(space: CellSpace, cell: Cell, run: int) -> function_cache.Evaluation:
    """A number in [0, 1] that follows from the structure of the cell."""
    digest = hashlib.sha256(f"{space.structure(cell)} {run}".encode()).hexdigest()
    return function_cache.Evaluation(int(digest[:6], 16) / 16**6)


@dataclass(eq=False)
class Job:
    """A training that a worker will make."""

    crew: Crew
    requested: float
    value: Any
    end: float | None = None
    withdrawn: bool = False

    def cancel(self) -> bool:
        """Withdraw it, unless a worker began it."""
        self.crew.advance()
        self.withdrawn = self.end is None
        return self.withdrawn

    def result(self) -> Any:  # noqa: ANN401 - as a worker sends it
        """Wait until it is done."""
        assert self.end is not None
        self.crew.now = max(self.crew.now, self.end)
        return self.value


@dataclass(eq=False)
class Crew:
    """Workers, and the clock.

    Attributes:
        space: of the candidates.
        free: when each worker is free.
        now: time, in trainings.
        made: trainings of the workers.
    """

    space: CellSpace
    free: list[float]
    now: float = 0.0
    made: int = 0
    queue: list[Job] = field(default_factory=list)

    def check(self) -> None:
        """Nothing ends these workers."""

    def request(self, candidate: Cell, encoded: object, run: int) -> Job:
        """See :mod:`snellen.runs.ahead`."""
        found = fitness(self.space, candidate, run)
        job = Job(self, self.now, [f"{type(found).__module__}:{type(found).__qualname__}", asdict(found)])
        self.queue.append(job)
        self.advance()
        return job

    def advance(self) -> None:
        """Begin every job whose worker is free by now."""
        while self.queue:
            self.queue = [job for job in self.queue if not job.withdrawn]
            worker = min(range(len(self.free)), key=self.free.__getitem__)
            if not self.queue or (start := max(self.free[worker], self.queue[0].requested)) > self.now:
                return
            self.queue[0].end = self.free[worker] = start + 1
            self.made += 1
            del self.queue[0]


def trainings(searched: Searched, candidates: int, workers: int) -> tuple[float, int, list[float]]:
    """Trainings one after the other, those of workers, and what the search learnt."""
    crew = Crew(searched.space, [0.0] * max(workers, 1))

    def evaluate(space: CellSpace, cell: Cell, run: int) -> function_cache.Evaluation:
        crew.now += 1
        return fitness(space, cell, run)

    CellSpace.evaluate = evaluate  # type: ignore[method-assign]
    search: Any = searched.fresh()
    if workers:
        search = ahead.foreseeing(search, crew, workers)
    learnt = [search.step().valid for _ in range(candidates)]
    return crew.now, crew.made, learnt


def main() -> None:
    """Print a row for each search."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--candidates", type=int, default=400)
    candidates = parser.parse_args().candidates
    images = load_images("optotypes:scenes?count=24&size=16&shapes=star,ring#train")
    for strategy, population, tournament in SEARCHES:
        how = {"strategy": strategy, "population": population, "tournament": tournament}
        search = {**how, "keys": "structural", "mantissa_bits": 24}
        given = Searched(images, images, 8, CellSettings(channels=4, probe_images=4), search, {}, 0)
        alone, _, learnt = trainings(given, candidates, 0)
        row = [f"{strategy} {population} {tournament}: {alone:.0f} trainings"]
        for workers in WORKERS:
            taken, made, same = trainings(given, candidates, workers)
            assert same == learnt
            row.append(f"{workers} workers {alone / taken:.2f} ({made} trainings)")
        print("; ".join(row))


if __name__ == "__main__":
    main()
