"""What is done with the images of a shard, here or in a worker: decode once, clean scores once, then every check."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch

from snellen.auditing.by_label import cost_by_label, measure_by_label
from snellen.auditing.checks import CHECKS, build_check
from snellen.auditing.checks.labels import with_thresholds
from snellen.auditing.clean_evidence import clean_evidence, score_batch
from snellen.checks.check import Batch, Check, Kept
from snellen.checks.per_image import CARRIED
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.evidence import Evidence
from snellen.core.fast_copy import fast_copy
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.loading import PreparedBatch, prepared_batches
from snellen.runs.measuring import Put
from snellen.runs.reopening import Reopening
from snellen.runs.shard import Shard

#: Why an image was set aside whose clean scores cannot be used.
NOT_FINITE = "the model's scores are not finite (NaN or infinity)"

#: Name of the evidence that every run has, with any checks.
CLEAN = "clean"

#: Name of the set that is audited, among those that are measured.
AUDITED = "audit"


@dataclass(eq=False)
class Provisional:
    """Decisions on unchanged images so far, for progress displays; no figure of a report."""

    right: int = 0
    seen: int = 0

    def count(self, batch: Batch) -> None:
        """Add the labelled images of a batch; of a model that decides pixels, or several labels an image, none."""
        if batch.classifier.task in ("segment", "multilabel"):
            return
        known = batch.labels >= 0
        decided = batch.classifier.predict(batch.scores)
        self.right += int((decided[known] == batch.labels[known]).sum())
        self.seen += int(known.sum())

    def count_shard(self, shard: Shard) -> str:
        """Add the labelled images of a shard, which a worker measured, and say what is known."""
        if CLEAN in shard.evidence:
            table = shard.evidence[CLEAN].table
            known = pc.and_(pc.is_valid(table["label"]), pc.greater_equal(table["label"], 0))
            right = pc.and_(known, pc.equal(table["label"], table["prediction"]))
            self.right += pc.sum(right).as_py() or 0
            self.seen += pc.sum(known).as_py() or 0
        return self.after("a shard")

    def after(self, done: str) -> str:
        """What is done, with the accuracy so far.

        >>> Provisional(9, 10).after("corruption")
        'corruption; provisional accuracy 90.0% (10 images)'
        """
        if not self.seen:
            return done
        return f"{done}; provisional accuracy {self.right / self.seen:.1%} ({self.seen} images)"


@dataclass(frozen=True, eq=False)
class ShardWork:
    """A model and sets of images, and what is measured. Items are positions in a set.

    Attributes:
        classifier: the model.
        sets: by name: "audit", "train", "val".
        checks: by set, those that measure something of their own.
        keep: what the clean evidence holds beside decisions and confidences.
        batch_size: images in one pass.
        workers: threads that read ahead.
        seed: of the run.
        save_images: whether the evidence may hold pictures, which a check of somebody else's may make.
        reading: what a thread holds while it reads images: data sets of other people may be for one thread at a time.
        as_given: whether the model measures in the layout of memory in which it came.
        provisional: what progress shows while the audited images are measured.
    """

    classifier: Classifier
    sets: Mapping[str, ImageSet]
    checks: Mapping[str, Sequence[Check]]
    keep: Collection[Kept]
    batch_size: int
    workers: int
    seed: int
    save_images: bool
    as_given: bool = True
    reading: threading.Lock = field(default_factory=threading.Lock, repr=False)
    provisional: Provisional = field(default_factory=Provisional)

    @classmethod
    def again(
        cls, classifiers: Sequence[Classifier], sets: Mapping[str, ImageSet], arguments: Mapping[str, Any]
    ) -> ShardWork:
        """The same work in another process, from what :meth:`reopening` says."""
        own = {**arguments, "checks": {of: [_rebuilt(one) for one in all_] for of, all_ in arguments["checks"].items()}}
        given = with_thresholds(classifiers[0], own["checks"][AUDITED])
        model = given if own.pop("as_given") else fast_copy(given)
        return cls(model, sets, **own, as_given=False)

    def reopening(self) -> Reopening:
        """From what a worker makes the same work.

        Raises:
            InputError: a check was handed in as an object.
        """
        for check in (check for checks in self.checks.values() for check in checks):
            if CHECKS.get(check.name) is not type(check) or _rebuilt(check.record()) != check:
                raise InputError(
                    f"workers make the checks themselves, and {check.name} is not one that comes with this package, "
                    f'by name and parameters: leave it out, or leave it to this process (engine "in_process")'
                )
        return Reopening(
            maker="snellen.auditing.shard_work:ShardWork.again",
            classifiers=[self.classifier],
            sets=self.sets,
            arguments={
                "checks": {of: [check.record() for check in checks] for of, checks in self.checks.items()},
                "keep": sorted(self.keep),
                "batch_size": self.batch_size,
                "workers": self.workers,
                "seed": self.seed,
                "save_images": self.save_images,
                "as_given": self.as_given,
            },
        )

    def twin(self) -> ShardWork:
        """The same work for another thread of this process.

        Raises:
            UnsupportedError: the model, or a check, is for one thread at a time.
            ModelError: the model cannot be copied.
        """
        alone = sorted({check.name for checks in self.checks.values() for check in checks if not check.concurrent})
        if alone:
            raise UnsupportedError(f"{', '.join(alone)} may not run in several threads")
        return dataclasses.replace(self, classifier=self.classifier.twin())

    def cost(self, of: str) -> dict[str, float]:
        """Passes through the model for each image of a set, by what is done."""
        several = self.classifier.task == "multilabel"
        labels = len(self.classifier.class_names)
        return {
            CLEAN: 1.0,
            **{c.name: cost_by_label(c, labels) if several else c.cost() for c in self.checks[of]},
        }

    def _read(self, members: ImageSet) -> Iterator[PreparedBatch]:
        batches = prepared_batches(members, self.classifier.preparation, self.batch_size, workers=self.workers)
        while True:
            with self.reading:
                loaded = next(batches, None)
            if loaded is None:
                return
            yield loaded

    def _note(self, of: str, done: str) -> str:
        return self.provisional.after(done) if of == AUDITED else done

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Measure the images at some positions of a set; see :class:`~snellen.runs.measuring.Work`.

        Raises:
            ModelError: scores have a wrong shape.
        """
        images, cost, task = self.sets[of], self.cost(of), task_of(of)
        members = images.select(np.asarray(items))
        seconds = dict.fromkeys(["reading", *cost], 0.0)
        evidence: dict[str, list[Evidence]] = {done: [] for done in cost}
        rejected: list[dict[str, str]] = []
        units, labels = members.column("unit_id"), members.known_labels
        carried = {
            column: dict(zip(members.ids, _values(members, column), strict=True)) for column in carried_columns(images)
        }
        rng, started = Randomness(self.seed), time.perf_counter()
        for loaded in self._read(members):
            rejected += [{"id": key, "reason": reason} for key, reason in loaded.rejected]
            seconds["reading"] += time.perf_counter() - started
            if len(loaded.ids):
                clock = time.perf_counter()
                batch, unusable = make_batch(
                    self.classifier,
                    loaded.ids,
                    [units[i] for i in loaded.indices],
                    loaded.pixels,
                    labels[np.asarray(loaded.indices)],
                    rng,
                    self.keep,
                    members.select(loaded.indices),
                )
                rejected += unusable
                if batch is not None:
                    known = {column: [values[key] for key in batch.ids] for column, values in carried.items()}
                    evidence[CLEAN].append(clean_evidence(batch, self.keep, known))
                    if of == AUDITED:
                        self.provisional.count(batch)
                seconds[CLEAN] += time.perf_counter() - clock
                progress.advance(task, cost[CLEAN] * len(loaded.ids), self._note(of, CLEAN))
                for check in self.checks[of]:
                    clock = time.perf_counter()
                    several = self.classifier.task == "multilabel"
                    made = None
                    if batch is not None:
                        made = measure_by_label(check, batch) if several else check.measure(batch)
                    if (measured := made) is not None:
                        evidence[check.name].append(measured)
                    seconds[check.name] += time.perf_counter() - clock
                    progress.advance(task, cost[check.name] * len(loaded.ids), self._note(of, check.name))
            progress.advance(task, sum(cost.values()) * len(loaded.rejected), "rejected")
            started = time.perf_counter()
        merged = {done: Evidence.merge(parts) for done, parts in evidence.items()}
        if not self.save_images:
            merged = {done: dataclasses.replace(part, blobs={}) for done, part in merged.items()}
        return Shard(merged, {"rejected": rejected}, seconds)


def task_of(of: str) -> str:
    """What progress calls the measuring of a set."""
    return of if of == AUDITED else f"{of} images"


def _rebuilt(record: Mapping[str, Any]) -> Check:
    return build_check(record["check"], {name: value for name, value in record.items() if name != "check"})


def carried_columns(images: ImageSet) -> list[str]:
    """Columns for the clean evidence in which some image has a value: all shards agree on them."""
    return [name for name in CARRIED if any(value is not None for value in images.column(name))]


def _values(images: ImageSet, column: str) -> list[object]:
    return [None if value is None else CARRIED[column](value) for value in images.column(column)]


def make_batch(
    classifier: Classifier,
    ids: Sequence[str],
    unit_ids: Sequence[object],
    pixels: torch.Tensor,
    labels: np.ndarray,
    rng: Randomness,
    keep: Collection[Kept] = (),
    originals: ImageSet | None = None,
) -> tuple[Batch | None, list[dict[str, str]]]:
    """Clean scores of a batch; images whose scores are not finite are set aside by name, None when none is left."""
    batch_images = to_unit(pixels).to(classifier.device)
    scores, features = score_batch(classifier, batch_images, keep)
    finite = torch.isfinite(scores).flatten(1).all(1)
    batch = Batch(
        classifier,
        tuple(ids),
        tuple(None if unit is None else str(unit) for unit in unit_ids),
        batch_images,
        torch.from_numpy(np.ascontiguousarray(labels)).to(classifier.device),
        scores,
        rng.for_examples(ids),
        features,
        originals,
    )
    if bool(finite.all()):
        return batch, []
    lost = [{"id": ids[p], "reason": NOT_FINITE} for p in (~finite).nonzero().flatten().tolist()]
    return (batch.take(finite.nonzero().flatten()) if bool(finite.any()) else None), lost
