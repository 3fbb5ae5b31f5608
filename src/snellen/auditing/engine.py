"""Sets of images on their way into a run: their shards, and what is gathered of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from snellen.auditing.plan import stretch
from snellen.auditing.report import AuditReport, Judged
from snellen.auditing.shard_work import AUDITED, Provisional, ShardWork, task_of
from snellen.checks.hypothesis import FALSE_DISCOVERY_RATE
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.run import Run
from snellen.runs.measuring import Piece, part_note


@dataclass(frozen=True, eq=False)
class SetRun:
    """One set of images on its way into a run.

    Attributes:
        run: where its shards go.
        name: of the set.
        images: the set.
        shards: how many shards it has.
        batch_size: images in one pass.
        cost: passes through the model for each image, by what is done.
    """

    run: Run
    name: str
    images: ImageSet
    shards: int
    batch_size: int
    cost: Mapping[str, float]

    def pieces(self) -> list[Piece]:
        """Its shards; the amount of each is in passes through the model."""
        found = []
        words = Provisional().count_shard if self.name == AUDITED else None
        for shard in range(self.shards):
            items = stretch(shard, self.shards, len(self.images), self.batch_size)
            amount = sum(self.cost.values()) * len(items)
            found.append(
                Piece(self.run, shard, items, task_of(self.name), amount, self.name, self.images, items, words)
            )
        return found

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


def set_runs(run: Run, work: ShardWork, shards: Mapping[str, int]) -> dict[str, SetRun]:
    """Each set on its way into a run: the audited one at its top, the others in folders of their names."""
    return {
        name: SetRun(
            run if name == "audit" else Run.open(run.folder / name, run.plan),
            name,
            images,
            shards[name],
            work.batch_size,
            work.cost(name),
        )
        for name, images in work.sets.items()
    }


def report_of_part(run: Run, part: str, pieces: Sequence[Piece]) -> AuditReport:
    """What is known after a part: how far the whole run is, and no figures."""
    none = Judged(hypotheses=0, findings=0, rate=FALSE_DISCOVERY_RATE)
    return AuditReport(
        model=run.plan["model"],
        data=run.plan["data"],
        metrics={},
        findings=(),
        tested=none,
        checks=(),
        notes=(part_note(part, pieces, run.folder),),
        folder=run.folder,
    )
