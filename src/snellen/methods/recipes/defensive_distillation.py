"""Defensive distillation: a student learns the softened answers of a teacher.

Papernot, McDaniel, Wu, Jha and Swami, "Distillation as a defense to adversarial perturbations against deep neural
networks", IEEE S&P 2016, arXiv 1511.04508, section IV: the teacher is trained at temperature T, its probabilities at T
become the targets, the student is trained on them at the same T and used at T = 1. The student's scores are then about
T times as large, softmax saturates, and gradients of cross-entropy vanish: attacks on scores break it as easily as
before (Carlini and Wagner 2017, arXiv 1608.04644, section VIII). It is here to be measured, not to be relied on.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field
from torch import nn

from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.models.classifiers.artifact_models import architecture_of, build_network
from snellen.models.weights.state_dict_file import load_strictly
from snellen.training.distillation import distil, scale_last_layer
from snellen.training.fitting.frame import FittedMethod, Fitting
from snellen.training.fitting.groundwork import Groundwork, check_classes, initial_network, lay_groundwork
from snellen.training.fitting.recipe import lacking_architecture
from snellen.training.plan import TrainingPlan

PLAN = TrainingPlan(epochs=20, batch_size=128, learning_rate=3e-3)

#: A teacher that is trained already is named by its folder.
TRAINED = "artifact:"


class DefensiveDistillation(FittedMethod):
    """Train a teacher and a student at one temperature; the student is the result, to be used at temperature 1.

    The teacher scores each training image once, in evaluation mode and as it is stored, and these probabilities stay
    the student's targets: neither training augments. An audit with the check ``masking`` shows what the apparent
    resistance of the student is worth.

    >>> DefensiveDistillation(temperature=40).hard_share
    0.0
    """

    name: ClassVar[str] = "defensive_distillation"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    temperature: float = Field(20.0, gt=0, description="divides the scores in both trainings (T); used at 1")
    hard_share: float = Field(
        0.0, ge=0, lt=1, description="weight of the labels beside the teacher's probabilities; 0 as published"
    )
    teacher: str | None = Field(
        None,
        description="architecture of the teacher (fashion_cnn or timm:NAME), by default the student's; or "
        "artifact:FOLDER of one that was trained at this temperature",
    )
    architecture: str = Field("timm:resnet18", description="of the student: fashion_cnn or timm:NAME")
    side: int = Field(224, ge=8, description="height and width of the images, pixels; a base brings its own")
    scaled_start: bool = Field(
        False,
        description="multiply the initial last layer by T, so that short trainings converge (not published)",
    )
    plan: TrainingPlan = Field(PLAN, description="numbers of each of the two trainings")

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: an architecture that does not exist."""
        for reference in (self.architecture, self.teacher or self.architecture):
            if not reference.startswith(TRAINED) and (reason := lacking_architecture(reference, images)) is not None:
                return reason
        return super().missing(classifier, images)

    def fitted(self, fitting: Fitting) -> Artifact:
        """Distil on images with one label each; "val" chooses the epochs of both trainings.

        The student starts from the base, if there is one. The teacher's checkpoint lies beside the student's.

        Raises:
            InputError: images without one label each, or a teacher of other classes.
        """
        ground = lay_groundwork(fitting, architecture=self.architecture, side=self.side, plan=self.plan)
        teacher, fixed = self._teacher(ground, fitting.rng.child("teacher"))
        scaled = self.scaled_start and fitting.base is None
        trained = distil(
            teacher,
            scale_last_layer(ground.network, self.temperature) if scaled else ground.network,
            ground.examples,
            temperature=self.temperature,
            hard_share=self.hard_share,
            plan=ground.plan,
            teacher_is_trained=fixed,
            val=ground.val,
            checkpoint=fitting.checkpoint,
            progress=fitting.progress,
        ).student
        return ground.artifact(trained, name=f"defensive-distillation-{self.temperature:g}", recipe=self.record())

    def _teacher(self, ground: Groundwork, rng: Randomness) -> tuple[nn.Module, bool]:
        """The teacher, and whether it is trained already."""
        if self.teacher is None or not self.teacher.startswith(TRAINED):
            built = (
                ground.architecture if self.teacher is None else architecture_of(self.teacher, len(ground.class_names))
            )
            network = initial_network(built, rng)
            return (scale_last_layer(network, self.temperature) if self.scaled_start else network), False
        artifact = Artifact.load(Path(self.teacher.removeprefix(TRAINED)))
        check_classes(artifact, "teacher", ground.class_names, "the images")
        if Preprocessing.model_validate(artifact.card.preparation) != ground.preparation:
            raise InputError(
                f"the teacher {artifact.card.name!r} prepares images otherwise than the student; train both at one side"
            )
        teacher = build_network(artifact.card.architecture, self.teacher)
        load_strictly(teacher, artifact.tensors, source=artifact.card.name)
        return teacher, True
