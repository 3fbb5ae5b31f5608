"""The candidates of a search as shards: images and settings, the next step, and what is on the disk of earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.core.run import Run
from snellen.data.rejections import check_rejected
from snellen.runs.measuring import Put
from snellen.runs.shard import Shard
from snellen.systems.functional_hashing.cell_space import CellSettings, CellSpace
from snellen.systems.functional_hashing.cells import Cell
from snellen.systems.functional_hashing.function_cache import Evaluation, FunctionCache
from snellen.systems.functional_hashing.record import trial_line
from snellen.systems.functional_hashing.searching import Proposer, Search, Trial
from snellen.training.batches import ImageStore

#: What progress calls it.
TASK = "searching cells"

#: A search whose first candidates all fail is refused.
ALL_FAILED = 10


@dataclass(frozen=True, eq=False)
class Searched:
    """Images of a search, and everything that its candidates depend on.

    Args:
        train: to train on.
        val: that measure fitness.
        side: height and width in pixels.
        settings: of cells.
        search: strategy, population, tournament, keys, mantissa bits.
        caching: of the cache.
        seed: of everything random.
        allow_rejected: search also where more than 5 % of the images cannot be used.
    """

    train: ImageSet
    val: ImageSet
    side: int
    settings: CellSettings
    search: Mapping[str, Any]
    caching: Mapping[str, Any]
    seed: int
    allow_rejected: bool = False

    @property
    def preparation(self) -> Preprocessing:
        """From a decoded image to what a network takes."""
        return Preprocessing(size=(self.side, self.side), resize="shorter", resize_to=(self.side, self.side))

    @cached_property
    def space(self) -> CellSpace:
        """Cells on these images, in memory.

        Raises:
            InputError: too many images cannot be used.
        """
        stores = []
        for images in (self.train, self.val):
            store = ImageStore.of_images(images, self.preparation)
            check_rejected(store.rejected, len(images), images.name, allowed=self.allow_rejected)
            stores.append(store)
        return CellSpace(stores[0], stores[1], len(self.train.class_names or ()), self.settings, self.seed)

    @property
    def rejected(self) -> dict[str, str]:
        """Images that cannot be used: id → reason."""
        return {**self.space.examples.rejected, **self.space.val.rejected}

    def fresh(self) -> Search[Cell]:
        """The search before its first candidate."""
        how = dict(self.search)
        keys, bits = how.pop("keys"), how.pop("mantissa_bits")
        proposer = Proposer(self.space, seed=self.seed, **how)
        return Search(self.space, proposer, keys, FunctionCache(seed=self.seed, **self.caching), bits)

    def forecast(self, candidates: int, final_epochs: int) -> float:
        """Seconds of all candidates without a hit, and of the last training, by three candidates.

        Raises:
            InputError: all of them failed.
        """
        search = self.fresh()
        tried = [search.step() for _ in range(4)]
        if all(one.problem for one in tried):
            raise InputError(f"the first {len(tried)} candidates all failed; the first one: {tried[0].problem}")
        found = tried[1:]  # the first one warms up
        each = sum(one.hash_seconds + max(one.seconds - one.hash_seconds, one.saved) for one in found) / len(found)
        return each * (candidates + final_epochs / self.settings.epochs)


@dataclass(eq=False)
class SearchWork:
    """The work of a search: item i is its i-th candidate."""

    searched: Searched
    run: Run
    _search: Search[Cell] | None = field(default=None, init=False)
    _problems: list[str] = field(default_factory=list, init=False)

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Find the fitness of some candidates; see :class:`~snellen.runs.measuring.Work`."""
        rows, seconds = [], {"hashing": 0.0, "evaluating": 0.0}
        for item in items:
            if self._search is None or self._search.done != item:
                self._search = self.searched.fresh()
                for before in read_trials(self.run, item):
                    self._search.repeat(before)
                    self._note(before)
            trial = self._search.step()
            self._note(trial)
            rows.append(trial_line(trial))
            seconds["hashing"] += trial.hash_seconds
            seconds["evaluating"] += 0.0 if trial.evaluation is None else trial.evaluation.seconds
            progress.advance(TASK, 1, f"{trial.kind}, accuracy {trial.valid:.3f}")
        return Shard(extra={"candidates": rows}, seconds=seconds)

    def _note(self, trial: Trial) -> None:
        """Give up where nothing can be run at all."""
        self._problems.append(trial.problem)
        if len(self._problems) == ALL_FAILED and all(self._problems):
            raise InputError(f"the first {ALL_FAILED} candidates all failed; the first one: {self._problems[0]}")


def read_trials(run: Run, count: int) -> list[Trial]:
    """The first candidates of a run that are on the disk."""
    found: list[Trial] = []
    means: dict[int, tuple[float, int]] = {}
    for item in range(count):
        (row,), seconds = run.shard_extra(item)["candidates"], run.shard_timing(item)
        made = row["evaluated"]
        evaluation = (
            None
            if made is None
            else Evaluation(made, seconds=float(seconds.get("evaluating", 0.0)), problem=row["problem"])
        )
        key, saved = row["key"], 0.0
        if key is not None and evaluation is not None:
            mean, n = means.get(key, (0.0, 0)) if row["kind"] != "miss" else (0.0, 0)
            means[key] = (mean + (evaluation.seconds - mean) / (n + 1), n + 1)
        elif row["kind"] == "full hit":
            saved = means[key][0]
        found.append(
            Trial(
                number=row["number"],
                candidate=row["candidate"],
                structure=row["structure"],
                key=key,
                kind=row["kind"],
                valid=row["valid"],
                test=None,
                hash_seconds=float(seconds.get("hashing", 0.0)),
                evaluation=evaluation,
                saved=saved,
                problem=row["problem"],
                stable=row["stable"],
            )
        )
    return found
