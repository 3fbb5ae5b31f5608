"""Measure sets of images in shards, by any engine: each shard is written whole or not at all, as it comes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from snellen.auditing.reopening import WORK
from snellen.auditing.report import AuditReport, Judged
from snellen.auditing.shard_messages import Job, ShardResult
from snellen.auditing.shard_work import CLEAN, ShardWork, hash_of
from snellen.auditing.sharding import stretch
from snellen.checks.check import Check
from snellen.checks.hypothesis import FALSE_DISCOVERY_RATE
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.run import Run
from snellen.models.remote.sent_log import append
from snellen.runs.engines.engine import Engine, Numbered
from snellen.runs.engines.in_process import InProcess


@dataclass(frozen=True, eq=False)
class SetRun:
    """One set of images on its way into a run.

    Attributes:
        run: where its shards go.
        images: the set.
        checks: those that measure something of their own.
        shards: how many shards it has.
        batch_size: images in one pass.
        task: what progress calls it.
    """

    run: Run
    images: ImageSet
    checks: Sequence[Check]
    shards: int
    batch_size: int
    task: str

    def positions(self, shard: int) -> range:
        """Of the images of a shard."""
        return stretch(shard, self.shards, len(self.images), self.batch_size)

    def members(self, shard: int) -> ImageSet:
        """The images of a shard."""
        return self.images.select(np.asarray(self.positions(shard)))

    @property
    def cost(self) -> dict[str, float]:
        """Passes through the model for each image, by what is done."""
        return {CLEAN: 1.0, **{check.name: check.cost() for check in self.checks}}

    def gathered(self) -> tuple[dict[str, Evidence], list[dict[str, str]]]:
        """Evidence by check, and rejected images with reasons; both are written into the run."""
        evidence = self.run.merge(self.shards, tuple(self.cost))
        rejected = [row for shard in range(self.shards) for row in self.run.shard_extra(shard)["rejected"]]
        self.run.write_json("rejected.json", rejected)
        return evidence, rejected

    def seconds(self) -> dict[str, float]:
        """Seconds by check, over all shards, whenever they ran."""
        total = dict.fromkeys(["reading", *self.cost], 0.0)
        for shard in range(self.shards):
            for name, value in self.run.shard_timing(shard).items():
                total[name] += value
        return total


def set_runs(
    run: Run, sets: Mapping[str, tuple[ImageSet, Sequence[Check]]], shards: Mapping[str, int], batch_size: int
) -> dict[str, SetRun]:
    """Each set on its way into a run: the audited one at its top, the others in folders of their names."""
    return {
        name: SetRun(
            run if name == "audit" else Run.open(run.folder / name, run.plan),
            images,
            checks,
            shards[name],
            batch_size,
            name if name == "audit" else f"{name} images",
        )
        for name, (images, checks) in sets.items()
    }


def measure_sets(
    sets: Mapping[str, SetRun],
    work: ShardWork,
    engine: Engine | None,
    setup: Callable[[], Mapping[str, Any]],
    progress: Progress,
    part: tuple[int, int] = (1, 1),
) -> None:
    """Measure what is not done yet. Workers are started once, for all sets; without anything to do, not at all.

    Args:
        sets: by name.
        work: what is done, with everything loaded.
        engine: who does it; None: this process, with what is loaded.
        setup: of the work in a worker.
        progress: hears of every batch that is measured here, of every shard that is measured elsewhere.
        part: which of how many parts of the shards to measure: the first of one are all.

    Raises:
        SnellenError: what a worker raised, or that it died. What was written stays.
    """
    shards = [(name, shard) for name, one in sets.items() for shard in range(one.shards)]
    mine = [number for number in range(len(shards)) if number % part[1] == part[0] - 1]
    telling = _Telling(sets, progress, {name for name, _ in (shards[number] for number in mine)})
    done = {number for number in mine if sets[shards[number][0]].run.done(shards[number][1])}
    for number in mine:
        name, shard = shards[number]
        telling.expect(name, len(sets[name].positions(shard)))
    telling.begin()
    for number in sorted(done):
        telling.all_of(*shards[number], "already done")
    waiting = [number for number in mine if number not in done]

    def jobs() -> Iterator[Numbered]:
        for number in waiting:
            name, shard = shards[number]
            one = sets[name]
            members, places = one.members(shard), one.positions(shard)
            # What this process reads needs no comparison with what this process read.
            contents = None if engine is None else hash_of(one.images.content_hashes[places.start : places.stop])
            yield number, Job.of_images(name, members, contents).to_bytes()

    if waiting:
        whole = next(iter(sets.values())).run.folder
        here = InProcess(dataclasses.replace(work, tell=telling.some_of))
        with closing((engine or here).run(WORK, {} if engine is None else setup(), jobs())) as results:
            for number, content in results:
                name, shard = shards[number]
                result, run = ShardResult.from_bytes(content), sets[name].run
                append(whole, result.sent)
                evidence = result.evidence if run.plan["save_images"] else _without_pictures(result.evidence)
                run.write_shard(shard, evidence, {"rejected": list(result.rejected)}, timing=result.seconds)
                if engine is not None:
                    for check in sets[name].cost:
                        telling.all_of(name, shard, check)
    telling.finish()


def _without_pictures(evidence: Mapping[str, Evidence]) -> dict[str, Evidence]:
    """Evidence without its blobs: a check of somebody else's may keep pictures there."""
    return {name: dataclasses.replace(part, blobs={}) for name, part in evidence.items()}


def report_of_part(run: Run, part: str, sets: Mapping[str, SetRun]) -> AuditReport:
    """What is known after a part: how far the whole run is, and no figures."""
    there = sum(one.run.done(shard) for one in sets.values() for shard in range(one.shards))
    note = (
        f"Part {part} is done; {there} of {sum(one.shards for one in sets.values())} shards are there. The same audit "
        f"without a part does what is left and makes the report."
    )
    none = Judged(hypotheses=0, findings=0, rate=FALSE_DISCOVERY_RATE)
    model, data = run.plan["model"], run.plan["data"]
    return AuditReport(
        model=model, data=data, metrics={}, findings=(), tested=none, checks=(), notes=(note,), folder=run.folder
    )


class _Telling:
    """Progress of several sets, in passes through the model."""

    def __init__(self, sets: Mapping[str, SetRun], progress: Progress, names: set[str]) -> None:
        self._sets, self._progress = sets, progress
        self._costs = {name: one.cost for name, one in sets.items()}
        self._images = dict.fromkeys((name for name in sets if name in names), 0)

    def expect(self, name: str, images: int) -> None:
        self._images[name] += images

    def begin(self) -> None:
        for name, images in self._images.items():
            self._progress.begin(self._sets[name].task, sum(self._costs[name].values()) * images)

    def some_of(self, name: str, done: str, images: int) -> None:
        """What was done with some images; anything but a check stands for all of them."""
        costs = self._costs[name]
        amount = costs[done] if done in costs else sum(costs.values())
        self._progress.advance(self._sets[name].task, amount * images, done)

    def all_of(self, name: str, shard: int, done: str) -> None:
        self.some_of(name, done, len(self._sets[name].positions(shard)))

    def finish(self) -> None:
        for name in self._images:
            self._progress.finish(self._sets[name].task)
