"""The shards of an attack: a batch each, attacked with every method before the next is read, written whole or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.preparation import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.run import Run
from snellen.data.loading import PreparedBatch, prepared_batches
from snellen.methods.attacks.goal import Goal, start_of
from snellen.methods.attacks.reliability import doubts_before
from snellen.runs.settings import Setting
from snellen.verbs.attack_batches import CLEAN, IMAGE, attacked_rows, clean_rows, usable_batch

#: What progress calls it.
TASK = "attacking"

#: Images that are asked whether the gradients can be relied on, at most; they are those of the first batch.
DOUBTED = 32


@dataclass(frozen=True, eq=False)
class Work:
    """One call: what is attacked with what."""

    classifier: Classifier
    images: ImageSet
    labels: Tensor
    settings: Sequence[Setting]
    goal: Goal
    batch_size: int
    workers: int
    rng: Randomness
    keep: bool

    @cached_property
    def starts(self) -> list[Tensor | None]:
        """For each setting, the image that a targeted search by decisions alone begins with; asks the model."""
        return [start_of(setting.method, self.classifier, self.images, self.goal) for setting in self.settings]

    @property
    def shards(self) -> int:
        """A shard is one batch: attacks are dear, and what a killed call does again is one of them."""
        return -(-len(self.images) // self.batch_size)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the evidence of a shard."""
        return (CLEAN, *(setting.name for setting in self.settings))


def measure(work: Work, run: Run, progress: Progress) -> None:
    """Attack what is not done yet, shard by shard."""
    progress.begin(TASK, len(work.images) * len(work.settings))
    units = work.images.column("unit_id")
    for shard, members in _missing(work, run, progress):
        part = work.images.select(list(members))
        for loaded in prepared_batches(part, work.classifier.preparation, work.batch_size, workers=work.workers):
            own = [units[members.start + at] for at in loaded.indices]
            _measure_batch(work, run, shard, loaded, own, members, progress)
    progress.finish(TASK)


def _missing(work: Work, run: Run, progress: Progress) -> Iterator[tuple[int, range]]:
    """Number and images of each shard that is not done."""
    for shard in range(work.shards):
        first = shard * work.batch_size
        members = range(first, min(first + work.batch_size, len(work.images)))
        if run.done(shard):
            progress.advance(TASK, len(members) * len(work.settings), "already done")
        else:
            yield shard, members


def _measure_batch(
    work: Work,
    run: Run,
    shard: int,
    loaded: PreparedBatch,
    units: Sequence[object],
    members: range,
    progress: Progress,
) -> None:
    evidence = {name: Evidence.merge([]) for name in work.names}
    rejected = [{"id": key, "reason": reason} for key, reason in loaded.rejected]
    doubts: tuple[str, ...] = ()
    batch = None
    if loaded.ids:
        device = work.classifier.device
        labels = work.labels[[members.start + at for at in loaded.indices]].to(device)
        prepared = to_unit(loaded.pixels).to(device)
        batch, lost = usable_batch(work.classifier, loaded.ids, units, prepared, labels, work.rng)
        rejected += lost
    if batch is not None:
        evidence[CLEAN] = clean_rows(batch, work.classifier, work.goal)
        if shard == 0 and work.classifier.differentiable and not work.goal.multilabel:
            asked = batch.known().nonzero().flatten()[:DOUBTED]
            doubts = doubts_before(work.classifier, batch.images[asked], batch.labels[asked])
        for setting, start in zip(work.settings, work.starts, strict=True):
            evidence[setting.name] = attacked_rows(
                batch, work.classifier, work.goal, setting, start=start, keep=work.keep
            )
            progress.advance(TASK, len(batch.ids), setting.name)
    progress.advance(TASK, len(rejected) * len(work.settings), "rejected")
    extra = {"rejected": rejected, "size": list(loaded.pixels.shape[2:]), "doubts": list(doubts)}
    run.write_shard(shard, evidence, extra)


def merged(run: Run, shards: int, name: str) -> Evidence:
    """The evidence of one setting without the images themselves."""
    parts: list[Evidence] = []
    for shard in range(shards):
        part = run.shard_evidence(shard, name)
        if len(part):
            kept = [column for column in part.table.column_names if column != IMAGE]
            parts.append(Evidence(part.table.select(kept), part.spent, part.assumptions, part.control))
    return Evidence.merge(parts)
