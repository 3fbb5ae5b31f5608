"""What an audit is made of: a check wraps methods, says what it needs and costs, and reads its own evidence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.classifier import Classifier, Task
from snellen.evidence import Evidence
from snellen.finding import Finding
from snellen.images import ImageSet
from snellen.method import Need, missing_needs
from snellen.randomness import Randomness


class Measured(BaseModel):
    """A figure with its 95 % interval and the number of images behind it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float = Field(description="lower end of the 95 % interval")
    high: float = Field(description="upper end of the 95 % interval")
    n: int = Field(description="images counted")


@dataclass(frozen=True, eq=False)
class Batch:
    """What the checks share: decoded and prepared once, clean scores computed once.

    Attributes:
        images: prepared images (n, 3, h, w) in [0, 1], on the classifier's device.
        labels: (n,), in the classifier's classes, −1 where unknown.
        scores: clean scores (n, k), all finite.
        rng: bound to ``ids``.
    """

    classifier: Classifier
    ids: tuple[str, ...]
    unit_ids: tuple[str | None, ...]
    images: Tensor
    labels: Tensor
    scores: Tensor
    rng: Randomness

    def take(self, chosen: Tensor) -> Batch:
        """Some examples of the batch, by position."""
        positions = chosen.tolist()
        return Batch(
            self.classifier,
            tuple(self.ids[p] for p in positions),
            tuple(self.unit_ids[p] for p in positions),
            self.images[chosen],
            self.labels[chosen],
            self.scores[chosen],
            self.rng[positions],
        )


class Check(BaseModel, ABC):
    """A check: frozen parameters, and how its evidence is made and read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()
    tasks: ClassVar[frozenset[Task]] = frozenset({"single", "ordinal"})

    def record(self) -> dict[str, Any]:
        """Name and parameters as JSON values, for the manifest."""
        return {"check": self.name, **self.model_dump(mode="json")}

    def missing(self, classifier: Classifier, images: ImageSet) -> str | None:
        """Why the check cannot run, or None when it can."""
        if classifier.task not in self.tasks:
            return f"handles {', '.join(sorted(self.tasks))} tasks, and {classifier.name} is {classifier.task}"
        if images.has_labels and not (images.labels >= 0).any():
            return f"needs one label for each image, and {images.name} has several"
        return missing_needs(self.needs, classifier, images)

    def notes(self, classifier: Classifier) -> tuple[str, ...]:
        """What a reader of the figures must know about how they were made."""
        return ()

    @abstractmethod
    def cost(self) -> float:
        """Estimated passes through the model for each image (a backward pass counts as two)."""

    @abstractmethod
    def measure(self, batch: Batch) -> Evidence:
        """Evidence of one batch."""

    @abstractmethod
    def metrics(self, evidence: Evidence, clean: Evidence) -> dict[str, Measured]:
        """Figures from the merged evidence, by dotted name."""

    @abstractmethod
    def findings(self, evidence: Evidence, clean: Evidence, names: Sequence[str]) -> list[Finding]:
        """What is wrong; ``names`` are the class names. Examples carry ids and captions; pictures come later."""

    @abstractmethod
    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """The images of a finding's examples as the check changed them, or None when it changes nothing."""
