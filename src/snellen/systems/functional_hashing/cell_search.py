"""The verb ``snellen.search``: labelled images in, a trained classifier of the best cell and the account of the cache out.

Each candidate is a shard, written when it was looked up or trained. A candidate depends on the fitness of those before
it, so one process does them in turn; a killed search repeats the known ones without training and goes on with the same
sequence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Unpack

from snellen.core.artifact import Artifact, Card, Lineage, rounded
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preparation import Preparation
from snellen.core.progress import Progress, Silent
from snellen.core.run import Run, canonical_json, write_atomically
from snellen.core.run_plan import describe_data, describe_machine
from snellen.data.class_balance import held_out
from snellen.runs.given import Images, given_images
from snellen.runs.measuring import Put
from snellen.runs.runner import Call, Running, carried_out
from snellen.runs.shard import Shard
from snellen.runs.unfinished import check_free
from snellen.systems.functional_hashing.cell_space import CellSettings, CellSpace
from snellen.systems.functional_hashing.cells import Cell
from snellen.systems.functional_hashing.function_cache import Evaluation, FunctionCache
from snellen.systems.functional_hashing.functional_hash import MANTISSA_BITS, check_mantissa_bits
from snellen.systems.functional_hashing.record import (
    CACHE,
    CLASSIFIER,
    COSTS,
    PAGE,
    RECORD,
    TRIALS,
    WHAT,
    Account,
    CellSearch,
    Step,
    costs_of,
    page,
    structures_by_key,
    trial_line,
    trial_lines,
)
from snellen.systems.functional_hashing.searching import (
    Keys,
    Proposer,
    Search,
    Strategy,
    Trial,
    check_search,
)
from snellen.training.batches import ImageStore
from snellen.training.environment import record_environment
from snellen.version import __version__

#: What progress calls it.
TASK = "searching cells"

#: One in so many images of each class measures fitness, where none are given for that.
SHARE_HELD_OUT = 5

#: Structures that share the key of another one and are trained at the end, to look for collisions.
MOST_CHECKED = 5

#: A search whose first candidates all fail is refused.
ALL_FAILED = 10


@dataclass(frozen=True, eq=False)
class Searched:
    """Images of a search, and everything that its candidates depend on.

    Args:
        train: to train on.
        tune: that measure fitness.
        side: height and width in pixels.
        settings: of cells.
        search: strategy, population, tournament, keys, mantissa bits.
        caching: of the cache.
        seed: of everything random.
    """

    train: ImageSet
    tune: ImageSet
    side: int
    settings: CellSettings
    search: Mapping[str, Any]
    caching: Mapping[str, Any]
    seed: int

    @property
    def preparation(self) -> Preparation:
        """From a decoded image to what a network takes."""
        return Preparation(size=(self.side, self.side), resize="shorter", resize_to=(self.side, self.side))

    @cached_property
    def space(self) -> CellSpace:
        """Cells on these images, in memory."""
        return CellSpace(
            ImageStore.of_images(self.train, self.preparation),
            ImageStore.of_images(self.tune, self.preparation),
            len(self.train.class_names or ()),
            self.settings,
            self.seed,
        )

    def fresh(self) -> Search[Cell]:
        """The search before its first candidate."""
        how = dict(self.search)
        keys, bits = how.pop("keys"), how.pop("mantissa_bits")
        proposer = Proposer(self.space, seed=self.seed, **how)
        return Search(self.space, proposer, keys, FunctionCache(seed=self.seed, **self.caching), bits)

    def forecast(self, candidates: int, final_epochs: int) -> float:
        """Seconds of all candidates without a hit, and of the last training, by three candidates."""
        search = self.fresh()
        found = [search.step() for _ in range(4)][1:]  # the first one warms up
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
        """Look up or train some candidates; see :class:`~snellen.runs.measuring.Work`."""
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
        evaluation = None if made is None else Evaluation(made, seconds=float(seconds.get("evaluating", 0.0)))
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


def search(
    images: Images,
    *,
    out: Path | str,
    tune: Images | None = None,
    candidates: int = 100,
    strategy: Strategy = "evolution",
    population: int = 25,
    tournament: int = 5,
    keys: Keys = "functional",
    max_num_evals: int = 1,
    remove_probability: float = 0.0,
    capacity: int | None = None,
    mantissa_bits: int = MANTISSA_BITS,
    side: int = 32,
    cells: CellSettings = CellSettings(),  # noqa: B008 - frozen
    final_epochs: int = 20,
    seed: int = 0,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> CellSearch:
    """Search a network for your images, and never train two candidates that compute the same function.

    ``out`` then holds ``classifier``, which :func:`snellen.audit` opens; ``candidates.jsonl``; ``cache.json``;
    ``costs.json`` with the seconds of this run; the page ``search.html`` and, last, the record ``search.json``. A call
    that was interrupted resumes where it stopped and proposes the same candidates.

    Args:
        images: labelled images, one label each. Of several splits, ``train`` is trained on and ``tune`` measures; test
            images are not touched.
        out: a new or empty folder, or one in which the same call was interrupted.
        tune: images that measure fitness; None: the split ``tune``, or a fifth of each class.
        candidates: that are proposed.
        strategy: ``random``, ``evolution`` (the child replaces the oldest) or ``elitism`` (it replaces the worst).
        population: of evolution and elitism.
        tournament: members of which the best has a child.
        keys: what a candidate is looked up by: ``functional``, ``structural`` (isomorphic cells), or ``none``.
        max_num_evals: trainings of a key that are averaged before it is frozen.
        remove_probability: with which a key is forgotten after a hit.
        capacity: keys that the cache holds; None: no limit.
        mantissa_bits: of the functional hash, 1 to 52.
        side: height and width of the networks' images, pixels.
        cells: how cells are built, probed and trained.
        final_epochs: of the training of the best cell.
        seed: of everything random.
        progress: callback that receives progress updates.
        running: see :class:`~snellen.runs.runner.Running`; one process, neither a budget nor a part.

    Raises:
        InputError: settings out of range, one class, several labels for an image, test images, or other classes.
        UnwritableError, RunConflictError: see :func:`snellen.synthesize`.
    """
    folder, listener = Path(out), progress or Silent()
    check_free(folder, RECORD, WHAT)
    if running.get("budget") is not None or running.get("part") is not None:
        raise InputError(
            f"a {WHAT} takes neither a budget of time nor a part: candidates depend on each other; limit --candidates"
        )
    for name, value, least in (("candidates", candidates, 1), ("final epochs", final_epochs, 1), ("side", side, 8)):
        if value < least:
            raise InputError(f"{name}: expected at least {least}, got {value}")
    check_mantissa_bits(mantissa_bits)
    searching = {
        "strategy": strategy, "population": population, "tournament": tournament, "keys": keys,
        "mantissa_bits": mantissa_bits,
    }  # fmt: skip
    caching = {"max_num_evals": max_num_evals, "remove_probability": remove_probability, "capacity": capacity}
    FunctionCache(**caching)  # refuses what is out of range before anything is read
    check_search(strategy, keys, population, tournament)
    train, measured = _images(given_images(images), None if tune is None else given_images(tune), seed)
    searched = Searched(train, measured, side, cells, searching, caching, seed)
    named = images if tune is None else tune

    @cache
    def plan() -> dict[str, Any]:
        return {
            "kind": WHAT,
            "data": describe_data(train, listener),
            "tune": describe_data(measured, listener),
            "side": side,
            "cells": cells.model_dump(mode="json"),
            "search": searching,
            "cache": caching,
            "candidates": candidates,
            "final_epochs": final_epochs,
            "seed": seed,
            **describe_machine(None),
        }

    def call(_: int) -> Call[CellSearch]:
        return Call(
            what=WHAT,
            result=CellSearch,
            plan=plan,
            work=lambda run: SearchWork(searched, run),
            shards=[range(item, item + 1) for item in range(candidates)],
            task=TASK,
            conclude=lambda run, where: conclude(
                run, where, searched, candidates, final_epochs,
                str(named) if isinstance(named, str | os.PathLike) else "", listener,
            ),
            images=None,
            seen=lambda _: range(0),
            fits=True,
            forecast=lambda: searched.forecast(candidates, final_epochs),
            costs=lambda: (
                f"{candidates:,} candidates; the time is without a hit, and about a third to a half are hits",
            ),
            rejected=lambda _: (),
            name=train.name,
        )  # fmt: skip

    listener.begin(WHAT, 1)
    with carried_out(call, candidates, folder, listener, running) as carried:
        carried.measure()
    listener.finish(WHAT)
    return carried.result


def _images(images: ImageSet, tune: ImageSet | None, seed: int) -> tuple[ImageSet, ImageSet]:
    """Images to train on, and those that measure fitness.

    Raises:
        InputError: as :func:`search`.
    """
    splits = set(images.column("split"))
    if tune is None and "tune" in splits:
        tune = images.of_split("tune")
    train = (images.of_split("train") if "train" in splits else images).for_fitting()
    if not train.class_names or not train.has_labels:
        raise InputError(f"{train.name} has no labels; a search needs labelled images, such as a folder of each class")
    if not (train.labels >= 0).any():
        raise InputError(f"{train.name}: a search needs images with one label each")
    if len(train.class_names) < 2:
        raise InputError(f"{train.name} has one class, {train.class_names[0]!r}: there is nothing to classify")
    if tune is None:
        return held_out(train, SHARE_HELD_OUT, seed)
    if tune.class_names != train.class_names:
        raise InputError(f"{tune.name} has other classes than {train.name}; both need the same, in one order")
    return train, tune.for_fitting()


def conclude(
    run: Run,
    folder: Path,
    searched: Searched,
    candidates: int,
    final_epochs: int,
    data: str,
    progress: Progress,
) -> CellSearch:
    """Train the best cell to the end, look for collisions, and write everything but the record."""
    trials = read_trials(run, candidates)
    best: list[Trial] = []
    for one in trials:
        if not one.problem and (not best or one.valid > best[-1].valid):
            best.append(one)
    if not best:
        raise InputError(f"every candidate failed; the first one: {trials[0].problem}")
    checked, collisions = _collisions(trials, searched.space)
    account = Account.of(trials, checked, collisions)
    artifact, accuracy = _classifier(best[-1], searched, final_epochs, account, progress)
    artifact.save(folder / CLASSIFIER)
    write_atomically(folder / TRIALS, trial_lines(trials))
    _cache_of(trials, searched).save(folder / CACHE)
    costs = costs_of(trials)
    write_atomically(folder / COSTS, canonical_json(costs))
    record = CellSearch(
        plan=run.plan,
        files=(f"{CLASSIFIER}/weights.safetensors", f"{CLASSIFIER}/card.json", TRIALS, CACHE, COSTS, PAGE),
        account=account,
        best=tuple(Step(number=one.number, cell=one.structure, valid=one.valid) for one in best),
        accuracy=accuracy,
        tune_images=len(searched.space.tune),
        data=data,
        warnings=account.warnings(),
    )
    write_atomically(folder / PAGE, page(record, costs).encode())
    return record


def _collisions(trials: list[Trial], space: CellSpace) -> tuple[int, int]:
    """Train structures that were found by the key of another one: how many, and how many have another fitness."""
    fitness = {one.key: one.valid for one in trials if one.key is not None and not one.problem}
    others = [
        (key, structure)
        for key, structures in structures_by_key(trials).items()
        if key in fitness
        for structure in structures[1:]
    ][:MOST_CHECKED]
    found = [space.evaluate(Cell.decode(structure), 0).valid != fitness[key] for key, structure in others]
    return len(found), sum(found)


def _classifier(
    best: Trial, searched: Searched, epochs: int, account: Account, progress: Progress
) -> tuple[Artifact, float]:
    """The best cell, trained to the epoch that is best on the tune images."""
    space, train = searched.space, searched.train
    cell = Cell.decode(best.structure)
    trained, network = space.trained(cell, 0, epochs, choose=True, progress=progress)
    row = next(one for one in trained.history if one["epoch"] == trained.best_epoch)
    seed = space.run_seed(0)
    card = Card(
        name="searched cell",
        kind="classifier",
        architecture=space.settings.architecture(cell, space.classes, seed),
        class_names=train.class_names or (),
        preparation=searched.preparation.model_dump(mode="json"),
        normalization={"mean": [0.0] * 3, "std": [1.0] * 3},
        metrics=rounded({name: value for name, value in row.items() if name.startswith("tune.")}),
        history=tuple(rounded(one) for one in trained.history),
        lineage=Lineage(
            recipe={
                "method": "functional_hashing",
                "cell": best.structure,
                "candidates": account.candidates,
                "evaluated": account.evaluated,
                "cells": space.settings.model_dump(mode="json"),
                "epochs": epochs,
            },
            data=trained.data,
            seed=searched.seed,
            code_version=__version__,
            environment=record_environment(),
        ),
    )
    return Artifact(dict(trained.weights), card), float(row["tune.accuracy"])


def _cache_of(trials: list[Trial], searched: Searched) -> FunctionCache:
    """The cache at the end, without clock readings."""
    found = searched.fresh()
    for one in trials:
        found.repeat(
            Trial(**{**vars(one), "hash_seconds": 0.0, "evaluation": _untimed(one.evaluation)})
        )
    return found.cache


def _untimed(found: Evaluation | None) -> Evaluation | None:
    return None if found is None else Evaluation(found.valid, found.test)
