"""What every treatment stands on: the patient, the stages of a treatment, and fine-tunings that can be one training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from snellen.checks.check import Check
from snellen.core.classifier import Classifier
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.method import Method
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.batches import ImageStore
from snellen.training.evaluation import accuracy
from snellen.training.fine_tuning import Term, TuningPlan, fine_tune, within_loss

if TYPE_CHECKING:
    from snellen.methods.synthesis.by_name import ByName

#: What every training needs: see :attr:`Treatment.packages`.
TRAINING = {"accelerate": "train"}


#: How much longer a fine-tuning is tried again that did not mend enough, where nothing else did, and how much larger
#: its learning rate is: what the first did not learn is far from the old weights.
LONGER, FASTER = 3, 3


class Stage(IntEnum):
    """When a treatment takes its turn: weights, statistics, last layer, scores, decisions by them."""

    SURGERY = 0
    FINE_TUNING = 1
    STATISTICS = 2
    LAST_LAYER = 3
    SCORES = 4
    DECISIONS = 5


@dataclass(frozen=True, eq=False)
class Patient:
    """What a treatment may know: the classifier, its findings, and images that are not those of the audit.

    Attributes:
        classifier: as it was audited.
        findings: that are treated.
        val: images that nothing was trained on: prepared, with labels in the classifier's classes.
        train: training images, prepared alike; None where none were given.
        images: the set that these were read from, a row for each, for masks, groups and units; None as ``train``.
        checks: of the audit, by name: what a finding was measured with.
        folder: the run directory of the audit; None where it kept none.
        max_loss: of clean accuracy that a treatment may cost.
        generator: that may make images of classes and groups, with its prompts; None: nothing is generated.
        remembered: what treatments found out about these images, by name: it is found out once.
    """

    classifier: Classifier
    findings: tuple[Finding, ...]
    val: ImageStore
    train: ImageStore | None = None
    images: ImageSet | None = None
    checks: Mapping[str, Check] = field(default_factory=dict)
    folder: Path | None = None
    max_loss: float = 0.01
    generator: ByName | None = None
    remembered: dict[str, object] = field(default_factory=dict, repr=False)

    @property
    def training(self) -> ImageStore:
        """The training images, of treatments that are not chosen without any."""
        assert self.train is not None, "a treatment that needs training images was chosen without any"
        return self.train

    @property
    def probes(self) -> Tensor:
        """A few validation images, float32 (n, 3, h, w), to inspect a network with."""
        return to_unit(self.val.images[:8]).to(self.classifier.device)

    @cached_property
    def class_counts(self) -> Tensor:
        """Training images of each class, float64 (k,)."""
        return torch.bincount(self.training.targets, minlength=len(self.classifier.class_names)).double()

    def subjects(self, *kinds: str) -> tuple[str, ...]:
        """Subjects of the findings of these kinds."""
        return tuple(finding.subject for finding in self.findings if finding.kind in kinds)


@dataclass(frozen=True, eq=False)
class Treating:
    """One call of ``treat``.

    Attributes:
        rng: of everything random.
        checkpoint: where a training saves its state, to go on from.
        progress: who is shown every step.
    """

    rng: Randomness
    checkpoint: Path | None = None
    progress: Progress | None = None


class Treatment(Method):
    """A method that makes a classifier better at what an audit found; subclasses say how in ``treated``."""

    #: When it takes its turn.
    stage: ClassVar[Stage] = Stage.FINE_TUNING
    #: Passes over the training images that it costs, about; of several treatments, the cheapest is tried first.
    passes: ClassVar[float] = 4.0
    #: Whether it needs training images.
    trains: ClassVar[bool] = True
    #: Whether it treats models of several labels an image, and not those of one class.
    several: ClassVar[bool] = False
    #: Packages of extras that it needs: name of the module → extra.
    packages: ClassVar[Mapping[str, str]] = {}

    @property
    def words(self) -> str:
        """Its name, and what is unusual about it."""
        return self.name

    def refusal(self, network: PreparedNetwork, patient: Patient) -> str | None:
        """Why it cannot treat this patient, in words that follow its name; None where it can."""
        return None

    def treat(
        self,
        network: PreparedNetwork,
        patient: Patient,
        *,
        rng: Randomness,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
    ) -> PreparedNetwork:
        """Change a network, in place or by another around it; arguments but the first two are those of ``Treating``.

        Args:
            network: prepared images → scores; a copy of the audited one, or what earlier treatments made of it.
            patient: findings and images.
            rng: as above. checkpoint: as above. progress: as above.
        """
        return self.treated(network, patient, Treating(rng, checkpoint, progress))

    @abstractmethod
    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """What becomes of the network."""


class FineTuning(Treatment):
    """A treatment that trains on from the weights: it says what it adds, and several are one training."""

    packages: ClassVar[Mapping[str, str]] = TRAINING

    plan: TuningPlan = Field(TuningPlan(), description="numbers of the training")

    @property
    def words(self) -> str:
        """Its name, and the passes over the training images where they are given."""
        if self.plan.epochs is None:
            return self.name
        return f"{self.name} of {self.plan.epochs} pass{'' if self.plan.epochs == 1 else 'es'}"

    def longer(self, patient: Patient) -> Self:
        """The same in :data:`LONGER` times as many passes over the training images, in larger steps."""
        epochs = LONGER * self.plan.passes(len(patient.training))
        changed = {"epochs": epochs, "rate": FASTER * self.plan.rate}
        return self.model_copy(update={"plan": self.plan.model_copy(update=changed)})

    @abstractmethod
    def term(self, patient: Patient, *, rng: Randomness) -> Term:
        """What is added to the cross-entropy on clean training images."""

    def treated(self, network: PreparedNetwork, patient: Patient, call: Treating) -> PreparedNetwork:
        """Fine-tune with this term alone."""
        return fine_tuned([self], network, patient, call)


def fine_tuned(
    tunings: Sequence[FineTuning], network: PreparedNetwork, patient: Patient, call: Treating
) -> PreparedNetwork:
    """Several fine-tunings as one training; one that costs more than the patient may lose goes back a part of the way.

    See :func:`~snellen.training.fine_tuning.within_loss`.
    """
    terms = [one.term(patient, rng=call.rng.child(one.name)) for one in tunings]
    plan = max((one.plan for one in tunings), key=lambda plan: plan.passes(len(patient.training)))
    return trained_on(patient.training, terms, plan, [one.record() for one in tunings], network, patient, call)


def trained_on(
    examples: ImageStore,
    terms: Sequence[Term],
    plan: TuningPlan,
    records: Sequence[Mapping[str, Any]],
    network: PreparedNetwork,
    patient: Patient,
    call: Treating,
) -> PreparedNetwork:
    """One fine-tuning with terms of treatments, whose ``records`` say what it is; see :func:`fine_tuned`."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    right = accuracy(network.eval(), patient.val)["accuracy"]
    network = fine_tune(
        network,
        examples,
        terms,
        plan=plan,
        rng=call.rng,
        checkpoint=call.checkpoint,
        recipe={"treatments": list(records)},
        progress=call.progress,
    )
    within_loss(network, before, patient.val, accuracy_before=right, most=patient.max_loss)
    return network


def treat_together(
    treatments: Sequence[Treatment],
    network: PreparedNetwork,
    patient: Patient,
    *,
    rng: Randomness,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> PreparedNetwork:
    """Carry out treatments by their stages: all fine-tunings in one training, the others one after the other."""
    tunings = [one for one in treatments if isinstance(one, FineTuning)]
    for stage in Stage:
        if stage == Stage.FINE_TUNING and tunings:
            network = fine_tuned(tunings, network, patient, Treating(rng, checkpoint, progress))
        for one in treatments:
            if one.stage == stage and not isinstance(one, FineTuning):
                network = one.treat(network, patient, rng=rng.child(one.name), progress=progress)
    return network.eval()
