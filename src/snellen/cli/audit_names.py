"""Names that options of ``snellen audit`` take, and what they stand for in Python."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snellen.auditing.effort import Effort
    from snellen.core.classifier import Task


class EffortName(StrEnum):
    """How much an audit does; see :data:`snellen.auditing.effort.Effort`."""

    quick = "quick"
    standard = "standard"
    full = "full"

    @property
    def level(self) -> Effort:
        """The same as the audit takes it."""
        return self.value


class TaskName(StrEnum):
    """What the outputs of a model decide; see :data:`snellen.core.classifier.Task`."""

    single = "single"
    ordinal = "ordinal"
    segment = "segment"
    multi_label = "multi_label"

    @property
    def kind(self) -> Task:
        """The same as a classifier has it."""
        names: dict[TaskName, Task] = {
            TaskName.single: "single",
            TaskName.ordinal: "ordinal",
            TaskName.segment: "segment",
            TaskName.multi_label: "multilabel",
        }
        return names[self]


class OutputName(StrEnum):
    """What a model returns; see :data:`snellen.models.classifiers.output_kind.OutputKind`."""

    logits = "logits"
    probabilities = "probabilities"
