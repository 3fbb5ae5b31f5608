"""What is done with the images of a shard, here or in a worker: decode once, clean scores once, then every check."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from snellen.auditing.clean_evidence import clean_evidence, score_batch
from snellen.auditing.shard_messages import Job, ShardResult
from snellen.checks.check import Batch, Check, Kept
from snellen.checks.per_image import CARRIED
from snellen.core.classifier import Classifier
from snellen.core.errors import WorkerError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet, ImageSource
from snellen.core.preparation import to_unit
from snellen.core.randomness import Randomness
from snellen.data.loading import prepared_batches
from snellen.models.remote.permission import AllowRemote, permitting
from snellen.models.remote.sent_log import sent_log

#: Why an image was set aside whose clean scores cannot be used.
NOT_FINITE = "the model's scores are not finite (NaN or infinity)"

#: Name of the evidence that every run has, whatever its checks.
CLEAN = "clean"


@dataclass(frozen=True, eq=False)
class WorkingSet:
    """A set of images as whoever measures it knows it.

    Attributes:
        source: of the pixels.
        class_names: what labels index.
        hidden: whether labels may not be read.
        carried: columns that the clean evidence carries along, the same in every shard.
        checks: those that measure something of their own.
    """

    source: ImageSource
    class_names: tuple[str, ...] | None
    hidden: bool
    carried: Sequence[str] = ()
    checks: Sequence[Check] = ()

    @classmethod
    def of(cls, images: ImageSet, checks: Sequence[Check]) -> WorkingSet:
        """Of a set that is loaded."""
        return cls(images.source, images.class_names, images.hidden, carried_columns(images), checks)


@dataclass(frozen=True, eq=False)
class ShardWork:
    """A model and sets of images, and what is measured.

    Attributes:
        classifier: the model.
        sets: by name; jobs say of which set they are.
        keep: what the clean evidence holds beside decisions and confidences.
        batch_size: images in one pass.
        workers: threads that read ahead.
        rng: of the run.
        tell: hears of work that is done: (set, cost for each image, images, what was done).
        allow_remote: in a worker, what may be reached from it; its requests are then told in the result. None: here,
            where permission and record are those of the caller.
    """

    classifier: Classifier
    sets: Mapping[str, WorkingSet]
    keep: Collection[Kept]
    batch_size: int
    workers: int
    rng: Randomness
    tell: Callable[[str, str, int], None] = field(default=lambda _set, _done, _images: None)
    allow_remote: AllowRemote | None = None

    def __call__(self, content: bytes) -> bytes:
        """Bytes of a :class:`Job` → bytes of a :class:`ShardResult`.

        Raises:
            WorkerError: the images are others than those that the run was planned for.
            ModelError: scores have a wrong shape.
        """
        job = Job.from_bytes(content)
        own = self.sets[job.of]
        members = ImageSet(own.source, job.table, own.class_names, job.of, job.rows, hidden=own.hidden)
        if job.contents is not None and hash_of(members.content_hashes) != job.contents:
            raise WorkerError(
                f"on {platform.node()} some {job.of} images are not those that the run was planned with: give every "
                f"machine the same files at the same place, and do not change them during a run"
            )
        if self.allow_remote is None:
            return self.measure(job.of, members).to_bytes()
        with permitting(self.allow_remote), sent_log(alone=True) as log:
            result = self.measure(job.of, members)
        return dataclasses.replace(result, sent=log.lines).to_bytes()

    def measure(self, name: str, members: ImageSet) -> ShardResult:
        """Measure the images of a shard."""
        own = self.sets[name]
        seconds = dict.fromkeys(["reading", CLEAN, *(check.name for check in own.checks)], 0.0)
        evidence: dict[str, list[Evidence]] = {done: [] for done in seconds if done != "reading"}
        rejected: list[dict[str, str]] = []
        units, labels = members.column("unit_id"), known_labels(members)
        carried = {column: dict(zip(members.ids, _values(members, column), strict=True)) for column in own.carried}
        started = time.perf_counter()
        for loaded in prepared_batches(members, self.classifier.preparation, self.batch_size, workers=self.workers):
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
                    self.rng,
                    self.keep,
                    members.select(loaded.indices),
                )
                rejected += unusable
                if batch is not None:
                    known = {column: [values[key] for key in batch.ids] for column, values in carried.items()}
                    evidence[CLEAN].append(clean_evidence(batch, self.keep, known))
                seconds[CLEAN] += time.perf_counter() - clock
                self.tell(name, CLEAN, len(loaded.ids))
                for check in own.checks:
                    clock = time.perf_counter()
                    if batch is not None and (measured := check.measure(batch)) is not None:
                        evidence[check.name].append(measured)
                    seconds[check.name] += time.perf_counter() - clock
                    self.tell(name, check.name, len(loaded.ids))
            self.tell(name, "rejected", len(loaded.rejected))
            started = time.perf_counter()
        merged = {done: Evidence.merge(parts) for done, parts in evidence.items()}
        return ShardResult(merged, rejected, seconds)


def hash_of(contents: Iterable[str]) -> str:
    """Hash of the hashes of some images, in order (sha256, hex)."""
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


def known_labels(images: ImageSet) -> NDArray[np.int64]:
    """Labels, −1 where there is none or where this view may not read it."""
    return images.labels if images.has_labels else np.full(len(images), -1, dtype=np.int64)


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
