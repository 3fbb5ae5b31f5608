"""What an audit is made of: a check wraps methods, says what it needs and costs, and reads its own evidence."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.checks.eye_chart import Column
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Panel
from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier, Task
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.label_decisions import label_logits
from snellen.core.method import Need, missing_needs
from snellen.core.parameters import Parameters
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness

#: What the clean evidence keeps of every image when a check reads it.
Kept = Literal["scores", "features", "fingerprints", "pixel_hashes", "properties"]

#: How a check reads a model of several labels an image. ``itself``: it handles them. ``each``: once for each label, as
#: two classes, without it and with it. ``sides``: for each label, once on the images that have it and once on those
#: that do not, because an accuracy over both hides what happens to a rare label. ``whole``: once, each combination of
#: labels a class of its own. ``apart``: what is not about labels once, the rest for each label.
Several = Literal["itself", "each", "sides", "whole", "apart"]

#: Other sets of images that a check may compare with.
Companion = Literal["train", "val"]


class CheckFigure(BaseModel):
    """A figure with its 95 % interval and the number of images behind it.

    Attributes:
        value: the estimate.
    """

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
        features: (n, d) of the classifier's feature layer; None when no check reads them, or there are none.
        originals: the same images as their set has them, with masks and attributes; None in a batch made by hand.
        rng: bound to ``ids``.
    """

    classifier: Classifier
    ids: tuple[str, ...]
    unit_ids: tuple[str | None, ...]
    images: Tensor
    labels: Tensor
    scores: Tensor
    rng: Randomness
    features: Tensor | None = None
    originals: ImageSet | None = None

    @property
    def label_sets(self) -> NDArray[np.int8]:
        """Several labels an image, int8 (n, k), −1 where unknown; of images that have none, all are."""
        if self.originals is None or not self.originals.has_labels:
            return np.full((len(self.ids), len(self.classifier.class_names)), -1, dtype=np.int8)
        return self.originals.label_sets

    def of_label(self, place: int) -> Batch:
        """The same batch with one of its labels as classes: without it, with it."""
        classifier = self.classifier.of_label(place)
        own = self.label_sets[:, place].astype(np.int64)
        logits = label_logits(self.scores[:, place], self.classifier.output)
        at = 0.5 if self.classifier.thresholds is None else self.classifier.thresholds[place]
        scores = torch.stack([torch.zeros_like(logits), logits - math.log(at) + math.log1p(-at)], 1)
        labels = torch.from_numpy(own).to(self.labels.device)
        rng = self.rng.child(self.classifier.class_names[place])
        return replace(self, classifier=classifier, labels=labels, scores=scores, rng=rng, originals=None)

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
            None if self.features is None else self.features[chosen],
            None if self.originals is None else self.originals.select(positions),
        )


@dataclass(frozen=True)
class WholeSet:
    """What is known of all training or validation images, also of those that were not measured.

    Attributes:
        images: how many there are.
        units: names of their units, where known.
    """

    images: int
    units: frozenset[str]

    @classmethod
    def of(cls, images: ImageSet) -> WholeSet:
        """Reads no pixels."""
        return cls(len(images), frozenset(str(unit) for unit in images.column("unit_id") if unit is not None))


@dataclass(frozen=True, eq=False)
class CheckInput:
    """What a check concludes from.

    Attributes:
        evidence: what the check itself measured; empty when it measures nothing of its own.
        images: what is known of every usable image.
        classifier: the model.
        companions: the same of the measured training and validation images, where they were given.
        companion_sets: these sets themselves, as many images of them as were measured; may be empty.
        wholes: of these sets before they were limited in size; may be empty.
        rng: of the run.
        data: fingerprint of the image set.
        audited: the image set itself, also the images that could not be used; None in a reading made by hand.
        pictured: whether pictures of images may be kept; those that a check makes all the same are left out.
        progress: who is shown how far a check is that reads images again.
    """

    evidence: Evidence
    images: PerImage
    classifier: Classifier
    companions: dict[Companion, PerImage] = field(default_factory=dict)
    companion_sets: Mapping[Companion, ImageSet] = field(default_factory=dict)
    wholes: Mapping[Companion, WholeSet] = field(default_factory=dict)
    rng: Randomness = field(default_factory=lambda: Randomness(0))
    data: str = ""
    audited: ImageSet | None = None
    pictured: bool = True
    progress: Progress = field(default_factory=Silent)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.classifier.class_names


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What a check says.

    Attributes:
        metrics: figures by dotted name.
        hypotheses: what was tested; the audit decides over all checks together which of them become findings.
        findings: what is certain and was not tested: exact duplicates, or facts without a test.
        columns: of the eye chart.
        panels: curves and tables for the report.
        lists: images by name, in full: suspects, copies. They become ``lists/NAME.json`` in the run directory.
        tables: the same for a person or a program to edit: they become ``lists/NAME.csv``. Rows have the same keys.
        arrays: what only a program reads, such as a change of images: they become ``arrays/NAME.safetensors``. They may
            show images, and are left out where no pictures may be kept.
        notes: what a reader must know.
        pictures: WebP files that panels show, by the sha256 of their bytes.
        sight: level of a test → what the check would have found at it in nine of ten cases, in words, or None where
            that is unknown. Reported where the check found nothing.
        skipped: why nothing could be measured; the report lists the check among those that did not run.
    """

    metrics: dict[str, CheckFigure] = field(default_factory=dict)
    hypotheses: Sequence[Hypothesis] = ()
    findings: Sequence[Finding] = ()
    columns: Sequence[Column] = ()
    panels: Sequence[Panel] = ()
    lists: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    arrays: Mapping[str, Mapping[str, NDArray]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    sight: Sequence[Callable[[float], str | None]] = ()
    skipped: str | None = None


class LackedSetting(str):
    """Why a check cannot run, where a setting that a user can give is what it lacks.

    >>> reason = LackedSetting("needs a detector: --set edits.detector=FOLDER", "detector")
    >>> reason.partition(":")[0], reason.setting
    ('needs a detector', 'detector')

    Args:
        reason: in words, with the option that removes it.
        setting: field of the check.
    """

    setting: str

    def __new__(cls, reason: str, setting: str) -> LackedSetting:
        """The reason, which knows its setting."""
        found = super().__new__(cls, reason)
        found.setting = setting
        return found

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # a copy for a worker has both
        return str(self), self.setting


class Check(Parameters, ABC):
    """A check: frozen parameters, how its evidence is made, and what is concluded from it."""

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()
    tasks: ClassVar[frozenset[Task]] = frozenset({"single", "ordinal"})
    #: How it reads a model of several labels an image; None: not at all, for the reason below.
    several: ClassVar[Several | None] = None
    #: Whether the model's decisions judge labels: of several, only those labels that it finds in most of their images.
    model_judges: ClassVar[bool] = False
    one_label: ClassVar[str] = "it reads the one class of each image"
    #: Whether it runs in an audit for which no checks are named.
    by_default: ClassVar[bool] = True
    #: What must be kept of every image for it.
    reads: ClassVar[frozenset[Kept]] = frozenset()
    #: Sets of images that must be given beside the audited one.
    compares_with: ClassVar[frozenset[Companion]] = frozenset()

    def record(self) -> dict[str, Any]:
        """Name and parameters as JSON values, for the manifest."""
        return {"check": self.name, **self.model_dump(mode="json")}

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why the check cannot run, or None when it can.

        A reason that a setting would remove is a :class:`LackedSetting`.
        """
        if classifier.task not in self.tasks:
            return f"handles {', '.join(sorted(self.tasks))} tasks, and {classifier.name} is {classifier.task}"
        if images.has_labels and not (images.labels >= 0).any():
            return (
                f"needs one label for each image, and {images.name} has several; a model of several labels an image is "
                f'audited with --task multi_label (load_classifier(..., task="multi_label"))'
            )
        for companion in sorted(self.compares_with - companions):
            return f"compares with {companion} images, and none were given (--{companion} DATA)"
        return missing_needs(self.needs, classifier, images)

    def resolved(self, classifier: Classifier) -> Check:
        """The same check with everything filled in that the classifier decides, as the plan of the run holds it."""
        return self

    def seeing(self, images: ImageSet, classifier: Classifier) -> Check:
        """The same check with everything filled in that the images decide, before any of them is drawn or measured."""
        return self

    def sized(self, images: int) -> Check:
        """The same check as it measures so many labelled images; see :class:`~snellen.checks.sampled.Sampled`."""
        return self

    def unbounded(self) -> Check:
        """The same check without a bound on the images that it measures, but for one that somebody set."""
        return self

    def figure_names(self) -> frozenset[str] | None:
        """Every dotted name of a figure that the check may give; None where only their first part is known."""
        return None

    def _names(self, *names: str) -> frozenset[str]:
        return frozenset(f"{self.name}.{name}" for name in names)

    @property
    def concurrent(self) -> bool:
        """Whether ``measure`` may run in several threads at once: it uses nothing but parameters and batch."""
        return not self.measures

    @property
    def all_labels_at_once(self) -> bool:
        """Whether ``measure`` takes a model of several labels an image, and measures all of them in one pass."""
        return False

    @property
    def measures(self) -> bool:
        """Whether the check measures something of its own, batch by batch."""
        return type(self).measure is not Check.measure

    @abstractmethod
    def cost(self) -> float:
        """Estimated passes through the model for each image (a backward pass counts as two)."""

    def measure(self, batch: Batch) -> Evidence | None:
        """Evidence of one batch; None when the check only reads what is known of every image."""
        return None

    @abstractmethod
    def conclude(self, reading: CheckInput) -> CheckResult:
        """Figures, hypotheses and findings. Examples carry ids and captions; pictures come later."""

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """The images of a finding's examples as the check changed them, or None when it changes nothing."""
        return None
