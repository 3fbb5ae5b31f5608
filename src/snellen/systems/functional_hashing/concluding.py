"""The end of a search: the best cell is trained to the end, shared keys are checked, and everything is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from snellen.core.artifact import Artifact, Card, Lineage, rounded
from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.run import Run, canonical_json, write_atomically
from snellen.runs.record import RejectedImage
from snellen.systems.functional_hashing.cell_space import CellSpace
from snellen.systems.functional_hashing.cells import Cell
from snellen.systems.functional_hashing.function_cache import Evaluation, FunctionCache
from snellen.systems.functional_hashing.record import (
    CACHE,
    CLASSIFIER,
    COSTS,
    PAGE,
    TRIALS,
    Account,
    CellSearch,
    Step,
    costs_of,
    page,
    structures_by_key,
    trial_lines,
)
from snellen.systems.functional_hashing.search_work import Searched, read_trials
from snellen.systems.functional_hashing.searching import Trial
from snellen.training.environment import record_environment
from snellen.version import __version__

#: Structures that share the key of another one and are trained at the end, to look for collisions.
MOST_CHECKED = 5


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
        rejected=tuple(RejectedImage(id=one, reason=why) for one, why in sorted(searched.rejected.items())),
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
    trained, _ = space.trained(cell, 0, epochs, choose=True, progress=progress)
    row = next(one for one in trained.history if one["epoch"] == trained.best_epoch)
    seed = space.run_seed(0)
    card = Card(
        name="searched cell",
        kind="classifier",
        architecture={"name": "cell_network", **space.settings.of_cell(cell, space.classes, seed)},
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
        found.repeat(replace(one, hash_seconds=0.0, evaluation=_untimed(one.evaluation)))
    return found.cache


def _untimed(found: Evaluation | None) -> Evaluation | None:
    return None if found is None else Evaluation(found.valid, found.test)
