"""The record of a search: what ``search.json`` holds, and what a terminal shows of it."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from snellen.runs.record import RejectedImage, RunResult, Summary, Table
from snellen.systems.functional_hashing.functional_hash import FAILED
from snellen.systems.functional_hashing.searching import Trial

RECORD = "search.json"

#: How messages call it.
WHAT = "search"

#: Files beside the record. Clock readings stand in COSTS alone: they differ from run to run.
CLASSIFIER, TRIALS, COSTS = "classifier", "candidates.jsonl", "costs.json"

#: Steps of the best fitness that a terminal shows.
_SHOWN = 12


class Account(BaseModel):
    """What a search proposed and what it did not have to evaluate. Holds no clock reading.

    Attributes:
        candidates: proposed.
        evaluated: trainings that were made.
        full_hits, partial_hits, misses: look-ups of candidates that did not fail; without a cache these are misses.
        failed: candidates that could not be run or trained, or are equal to one that could not; they have the worst
            fitness, and count neither as hits nor as misses.
        reason: why the first of these failed; empty where none did.
        structures: distinct canonical structures, of all candidates.
        keys: distinct keys of candidates that did not fail.
        shared_keys: keys that several structures have.
        checked: structures that were found by the key of another one and trained to compare.
        collisions: of these, those with another fitness than the first structure of their key.
        split_structures: structures with several keys: the cache missed that they are equal.
        hashed_twice: candidates whose key was computed twice.
        unstable: of these, those with two different keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: int = 0
    evaluated: int = 0
    full_hits: int = 0
    partial_hits: int = 0
    misses: int = 0
    failed: int = 0
    reason: str = ""
    structures: int = 0
    keys: int = 0
    shared_keys: int = 0
    checked: int = 0
    collisions: int = 0
    split_structures: int = 0
    hashed_twice: int = 0
    unstable: int = 0

    @classmethod
    def of(cls, trials: Sequence[Trial], checked: int = 0, collisions: int = 0) -> Account:
        """Count the candidates of a search."""
        good = [one for one in trials if not one.problem]
        by_key, by_structure = structures_by_key(trials), defaultdict(set)
        for one in good:
            by_structure[one.structure].add(one.key)
        return cls(
            candidates=len(trials),
            evaluated=sum(one.evaluation is not None and one.key != FAILED for one in trials),
            full_hits=sum(one.kind == "full hit" for one in good),
            partial_hits=sum(one.kind == "partial hit" for one in good),
            misses=sum(one.kind == "miss" for one in good),
            failed=len(trials) - len(good),
            reason=next((one.problem for one in trials if one.problem), ""),
            structures=len({one.structure for one in trials}),
            keys=len(by_key),
            shared_keys=sum(len(found) > 1 for found in by_key.values()),
            checked=checked,
            collisions=collisions,
            split_structures=sum(len(found) > 1 for found in by_structure.values()),
            hashed_twice=sum(one.stable is not None for one in trials),
            unstable=sum(one.stable is False for one in trials),
        )

    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before the figures are used."""
        found = []
        if self.unstable:
            found.append(
                f"the probe is not deterministic: {self.unstable} of {self.hashed_twice} candidates got another key "
                "when they were hashed again, so the cache misses equal candidates"
            )
        if self.collisions:
            found.append(
                f"collisions: {self.collisions} of {self.checked} structures that were checked have another fitness "
                "than the first with their key; more probe steps, probe images or mantissa bits tell them apart"
            )
        if self.split_structures:
            found.append(
                f"missed: {self.split_structures} structures have several keys; fewer mantissa bits bring them together"
            )
        if self.failed:
            found.append(
                f"failed: {self.failed} of {self.candidates} candidates could not be trained, or are equal to one that "
                f"could not, and have the worst fitness; the first one: {self.reason}"
            )
        return tuple(found)


def structures_by_key(trials: Sequence[Trial]) -> dict[int, list[str]]:
    """The distinct structures under each key, in the order in which they came; of candidates that did not fail."""
    found: dict[int, dict[str, None]] = defaultdict(dict)
    for one in trials:
        if one.key is not None and not one.problem:
            found[one.key][one.structure] = None
    return {key: list(structures) for key, structures in found.items()}


def costs_of(trials: Sequence[Trial]) -> dict[str, float]:
    """Seconds: of evaluations and hashes, and what hits saved; ``saved`` is less the seconds of all hashes."""
    hashing = sum(one.hash_seconds for one in trials)
    spared = sum(one.saved for one in trials)
    evaluating = sum(one.evaluation.seconds for one in trials if one.evaluation is not None)
    found = {"evaluating": evaluating, "hashing": hashing, "spared": spared, "saved": spared - hashing}
    return {name: round(value, 3) for name, value in found.items()}


class Step(BaseModel):
    """A candidate that was better than all before it.

    Attributes:
        number: of the candidate.
        cell: its layers, in words.
        valid: its accuracy on validation images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    cell: str
    valid: float


class CellSearch(RunResult):
    """A search, and the classifier of the best cell.

    Attributes:
        account: of candidates, hits and misses.
        best: the steps of the best fitness; the last one was trained to the end.
        accuracy: of the classifier on the validation images, which chose cell and epoch: not a figure for a report.
        val_images: of these.
        test: reference of test images of the same set; empty where it has none, or was handed over in memory.
        warnings: what a reader must know.
        rejected: images that cannot be used.
    """

    file: ClassVar[str] = RECORD

    account: Account = Account()
    best: tuple[Step, ...] = ()
    accuracy: float = 0.0
    val_images: int = 0
    test: str = ""
    warnings: tuple[str, ...] = ()
    rejected: tuple[RejectedImage, ...] = ()

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of this search, as ``costs.json`` holds them; empty where nothing was kept."""
        if self.folder is None or not (self.folder / COSTS).is_file():
            return {}
        found: dict[str, float] = json.loads((self.folder / COSTS).read_bytes())
        return found

    def summary(self) -> Summary:
        """Candidates and hits, seconds, the best cells, and the next command."""
        count = self.account
        rows = (
            ("candidates", str(count.candidates)),
            ("trained", str(count.evaluated)),
            *([("failed", str(count.failed))] if count.failed else []),
            ("full hits", str(count.full_hits)),
            ("partial hits", str(count.partial_hits)),
            ("distinct structures", str(count.structures)),
            ("distinct keys", str(count.keys)),
            (
                "keys of several structures",
                f"{count.shared_keys} ({count.collisions} of {count.checked} checked differ)",
            ),
        )
        costs = self.costs
        times = (
            f"time: {costs['evaluating']:.1f} s of training, {costs['hashing']:.1f} s of hashing; "
            f"{costs['saved']:.1f} s saved, hashing taken off"
            if costs
            else ""
        )
        return Summary(
            f"{WHAT} of cells on {self.plan['data']['name']}",
            (
                Table(("account", "number"), rows, frozenset({1})),
                *([times] if times else []),
                Table(
                    ("candidate", "best accuracy so far", "cell"),
                    tuple((str(one.number), f"{one.valid:.3f}", one.cell) for one in self.best[-_SHOWN:]),
                    frozenset({0, 1}),
                ),
                f"the classifier decides {100 * self.accuracy:.1f} % of the {self.val_images} val images rightly; "
                "these chose it, so measure it on others",
                *(f"warning: {line}" for line in self.warnings),
            ),
            rejected=self.rejected,
            files=self.files,
            record=RECORD,
            last=self.next_commands(),
        )

    def next_commands(self) -> tuple[str, ...]:
        """The audit of the classifier on test images, where the set has some."""
        if self.folder is None:
            return ()
        classifier = shlex.quote(f"artifact:{self.folder / CLASSIFIER}")
        if not self.test:
            return (
                f"Next: snellen audit takes the classifier as {classifier}; give it other images than these, which "
                "trained or chose the classifier",
            )
        return (f"Next, on images that it never saw: snellen audit {classifier} {shlex.quote(self.test)}",)

    def _verdict(self) -> str:
        count = self.account
        return (
            f"{count.candidates} candidates, {count.evaluated} trained; accuracy {self.accuracy:.3f} on the val images"
        )


def trial_line(trial: Trial) -> dict[str, Any]:
    """A candidate as a JSON value, without clock readings."""
    return {
        "number": trial.number,
        "candidate": trial.candidate,
        "structure": trial.structure,
        "key": trial.key,
        "kind": trial.kind,
        "valid": trial.valid,
        "evaluated": None if trial.evaluation is None else trial.evaluation.valid,
        "problem": trial.problem,
        "stable": trial.stable,
    }


def trial_lines(trials: Sequence[Trial]) -> bytes:
    """The candidates as JSON lines."""
    return "".join(f"{json.dumps(trial_line(one), sort_keys=True)}\n" for one in trials).encode()
