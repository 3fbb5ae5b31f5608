"""The end of a search: the best cell is trained to the end, shared keys are checked, and everything is written."""

from __future__ import annotations

from pathlib import Path

from snellen.core.artifact import Artifact, Card, Lineage, rounded
from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Progress
from snellen.core.run import Run, canonical_json, write_atomically
from snellen.runs.record import RejectedImage
from snellen.systems.functional_hashing.cell_space import CellSpace
from snellen.systems.functional_hashing.cells import Cell
from snellen.systems.functional_hashing.record import (
    CLASSIFIER,
    COSTS,
    TRIALS,
    Account,
    CellSearch,
    Step,
    costs_of,
    structures_by_key,
    trial_lines,
)
from snellen.systems.functional_hashing.search_work import Searched, read_trials
from snellen.systems.functional_hashing.searching import Trial
from snellen.training.environment import record_environment
from snellen.version import __version__

#: Structures that share the key of another one and are trained at the end, to look for collisions.
MOST_CHECKED = 5

#: A classifier that is not so much better than the commonest class learned little.
LEARNED = 0.05


def conclude(
    run: Run,
    folder: Path,
    searched: Searched,
    candidates: int,
    final_epochs: int,
    test: str,
    progress: Progress,
) -> CellSearch:
    """Train the best cell to the end, look for collisions, and write everything but the record."""
    trials = read_trials(run, candidates)
    failed = {one.structure for one in trials if one.problem}  # averaged trainings: one may fail after another did not
    best: list[Trial] = []
    for one in trials:
        if one.structure not in failed and (not best or one.valid > best[-1].valid):
            best.append(one)
    if not best:
        raise InputError(f"every candidate failed; the first one: {trials[0].problem}")
    checked, collisions = _collisions(trials, searched.space)
    account = Account.of(trials, checked, collisions)
    artifact, accuracy, diverged = _classifier(best, searched, final_epochs, account, progress)
    artifact.save(folder / CLASSIFIER)
    write_atomically(folder / TRIALS, trial_lines(trials))
    costs = costs_of(trials)
    write_atomically(folder / COSTS, canonical_json(costs))
    return CellSearch(
        plan=run.plan,
        files=(f"{CLASSIFIER}/weights.safetensors", f"{CLASSIFIER}/card.json", TRIALS, COSTS),
        account=account,
        best=tuple(Step(number=one.number, cell=one.structure, valid=one.valid) for one in best),
        accuracy=accuracy,
        val_images=len(searched.space.val),
        test=test,
        warnings=(*account.warnings(), *diverged, *learned_little(accuracy, searched)),
        rejected=tuple(RejectedImage(id=one, reason=why) for one, why in sorted(searched.rejected.items())),
    )


def learned_little(accuracy: float, searched: Searched) -> list[str]:
    """A warning, in words, where one class alone would be right nearly as often; it names the classes."""
    targets, names = searched.space.val.targets.tolist(), searched.train.class_names or ()
    commonest = max(targets.count(one) for one in set(targets)) / len(targets)
    if accuracy - commonest >= LEARNED:
        return []
    return [
        f"the classifier decides {100 * accuracy:.1f} % of the val images rightly, and one class alone has "
        f"{100 * commonest:.1f} % of them: it learned little, or its classes ({', '.join(names)}) are not those that "
        f"you meant"
    ]


def _collisions(trials: list[Trial], space: CellSpace) -> tuple[int, int]:
    """Train structures that were found by the key of another one: how many, and how many have another fitness.

    Both are compared by their first training: the mean of several, or a later one, differs by chance alone.
    """
    fitness: dict[int, float] = {}
    for one in trials:
        if one.key is not None and one.evaluation is not None and not one.evaluation.problem:
            fitness.setdefault(one.key, one.evaluation.valid)
    others = [
        (key, structure)
        for key, structures in structures_by_key(trials).items()
        if key in fitness
        for structure in structures[1:]
    ][:MOST_CHECKED]
    found = [_first_fitness(space, structure) != fitness[key] for key, structure in others]
    return len(found), sum(found)


def _first_fitness(space: CellSpace, structure: str) -> float:
    """Fitness of the first training of a structure; the worst where it fails."""
    try:
        return space.evaluate(Cell.decode(structure), 0).valid
    except ModelError:
        return space.worst


def _classifier(
    best: list[Trial], searched: Searched, epochs: int, account: Account, progress: Progress
) -> tuple[Artifact, float, list[str]]:
    """The best cell, trained to the epoch that is best on the validation images, its accuracy, and warnings.

    A longer training can fail where the short one did not: then the cell is left out of ``best``, and the one before it
    is trained.
    """
    space, train = searched.space, searched.train
    diverged: list[str] = []
    while True:
        cell = Cell.decode(best[-1].structure)
        try:
            trained, _ = space.trained(cell, 0, epochs, choose=True, progress=progress)
            break
        except ModelError as error:
            failed = best.pop()
            if not best:
                raise
            diverged.append(f"the last training of candidate {failed.number} failed, so it is not the best: {error}")
    row = next(one for one in trained.history if one["epoch"] == trained.best_epoch)
    seed = space.run_seed(0)
    card = Card(
        name="searched cell",
        kind="classifier",
        architecture={"name": "cell_network", **space.settings.of_cell(cell, space.classes, seed)},
        class_names=train.class_names or (),
        preparation=searched.preparation.model_dump(mode="json"),
        normalization={"mean": [0.0] * 3, "std": [1.0] * 3},
        metrics=rounded({name: value for name, value in row.items() if name.startswith("val.")}),
        history=tuple(rounded(one) for one in trained.history),
        lineage=Lineage(
            recipe={
                "method": "functional_hashing",
                "cell": best[-1].structure,
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
    return Artifact(dict(trained.weights), card), float(row["val.accuracy"]), diverged
