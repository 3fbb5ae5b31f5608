"""What an attack does shard by shard: a batch each, attacked with every method before the next is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from snellen.core.errors import NotFiniteError
from snellen.core.evidence import Evidence
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.run import Run
from snellen.data.loading import prepared_batch
from snellen.methods.attacks.goal import Goal, goal_of, labels_of, start_of
from snellen.methods.attacks.reliability import doubts_before
from snellen.runs.gathering import merged_evidence
from snellen.runs.measuring import Put
from snellen.runs.method_work import MethodWork
from snellen.runs.shard import Shard
from snellen.verbs.attack_batches import CLEAN, IMAGE, attacked_rows, clean_rows, tried_images, usable_batch

#: What progress calls it.
TASK = "attacking"

#: Images that test whether the gradients can be relied on, at most; they are those of the first batch.
DOUBTED = 32


@dataclass(frozen=True, eq=False)
class Work(MethodWork):
    """What is attacked with what.

    Attributes:
        target: class to be taken for, by position; None: any mistake.
        workers: threads that read images ahead.
        seed: of everything random.
        keep: whether adversarial images are kept.
    """

    area: ClassVar[str] = "attacks"

    target: int | None
    workers: int
    seed: int
    keep: bool

    @cached_property
    def goal(self) -> Goal:
        """What counts as success."""
        return goal_of(self.classifier, self.target)

    @cached_property
    def labels(self) -> Tensor:
        """Labels in the order of the set, see :func:`~snellen.methods.attacks.goal.labels_of`."""
        return labels_of(self.images, self.goal, len(self.classifier.class_names))

    @cached_property
    def units(self) -> list[object]:
        """Each image's independent unit, or None."""
        return self.images.column("unit_id")

    @property
    def starts(self) -> list[Tensor | None]:
        """For each setting, the image that a targeted search by decisions alone begins with; runs the model once."""
        with self.reading:
            if "starts" not in self.shared:
                self.shared["starts"] = [
                    start_of(setting.method, self.classifier, self.images, self.goal) for setting in self.settings
                ]
            found: list[Tensor | None] = self.shared["starts"]
            return found

    @property
    def names(self) -> tuple[str, ...]:
        """Of the evidence of a shard."""
        return (CLEAN, *(setting.name for setting in self.settings))

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Attack the images at these positions in one batch; see :class:`~snellen.runs.measuring.Work`."""
        with self.reading:
            loaded = prepared_batch(self.images, items, self.classifier.preparation, workers=self.workers)
        evidence = {name: Evidence.merge([]) for name in self.names}
        rejected = [{"id": key, "reason": reason} for key, reason in loaded.rejected]
        doubts: tuple[str, ...] = ()
        batch = None
        if loaded.ids:
            device = self.classifier.device
            batch, lost = usable_batch(
                self.classifier,
                loaded.ids,
                [self.units[at] for at in loaded.indices],
                to_unit(loaded.pixels).to(device),
                self.labels[loaded.indices].to(device),
                Randomness(self.seed),
            )
            rejected += lost
        if batch is not None:
            evidence[CLEAN] = clean_rows(batch, self.classifier, self.goal)
            if items.start == 0 and self.classifier.differentiable and not self.goal.multilabel:
                doubted = batch.known().nonzero().flatten()[:DOUBTED]
                doubts = doubts_before(self.classifier, batch.images[doubted], batch.labels[doubted])
            for setting, start in zip(self.settings, self.starts, strict=True):
                tried = tried_images(batch, self.classifier, self.goal, setting, start)
                found = None
                if len(tried.positions):
                    try:
                        # Called here and not in a helper: every function between a verb and the network is one more to
                        # read in a traceback and in a profile.
                        found = setting.attack.attack(
                            self.classifier, tried.images, tried.labels, criterion=self.goal.criterion, rng=tried.rng,
                            **tried.further,
                        )  # fmt: skip
                    except NotFiniteError:
                        found = None
                evidence[setting.name] = attacked_rows(
                    batch, self.classifier, self.goal, setting, tried, found, keep=self.keep
                )
                progress.advance(TASK, len(batch.ids), setting.name)
        progress.advance(TASK, len(rejected) * len(self.settings), "rejected")
        height, width = loaded.pixels.shape[2:]
        return Shard(evidence, {"rejected": rejected, "size": {"height": height, "width": width}, "doubts": [*doubts]})


def merged(run: Run, shards: int, name: str) -> Evidence:
    """The evidence of one setting without the images themselves."""
    return merged_evidence(run, range(shards), name, without=(IMAGE,))
