"""Defensive distillation: a student learns the softened answers of a teacher.

Papernot, McDaniel, Wu, Jha and Swami, "Distillation as a defense to adversarial perturbations against deep neural
networks", IEEE S&P 2016, arXiv 1511.04508, section IV: the teacher is trained at temperature T, its probabilities at T
become the targets, the student is trained on them at the same T and used at T = 1. The student's scores are then about
T times as large, softmax saturates, and gradients of cross-entropy vanish: attacks on scores break it as easily as
before (Carlini and Wagner 2017, arXiv 1608.04644, section VIII). It is here to be measured, not to be relied on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from snellen.artifact import Artifact, Card, Lineage
from snellen.classifier import Classifier
from snellen.errors import InputError, SnellenError
from snellen.images import ImageSet
from snellen.method import Method, Need
from snellen.models.artifact_models import build_network
from snellen.models.state_dict_file import load_strictly
from snellen.models.untrained import architecture_of, untrained
from snellen.preparation import Preparation
from snellen.progress import Progress
from snellen.randomness import Randomness
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.distillation import distil, scale_last_layer
from snellen.training.environment import record_environment
from snellen.training.plan import TrainingPlan
from snellen.version import __version__

PLAN = TrainingPlan(epochs=20, batch_size=128, learning_rate=3e-3)

#: A teacher that is trained already is named by its folder.
TRAINED = "artifact:"


class DefensiveDistillation(Method):
    """Train a teacher and a student at one temperature; the student is the result, to be used at temperature 1.

    The teacher looks at each training image once, in evaluation mode and as it is stored, and these probabilities stay
    the student's targets: neither training augments. An audit with the check ``masking`` tells what the apparent
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
        try:
            for reference in {self.architecture, self.teacher or self.architecture}:
                if not reference.startswith(TRAINED):
                    architecture_of(reference, 2)
        except SnellenError as error:
            return f"cannot train: {error}"
        return super().missing(classifier, images)

    def fit(
        self, data: ImageSet, *, base: Artifact | None = None, rng: Randomness, progress: Progress | None = None
    ) -> Artifact:
        """Distil on images with one label each; with a ``split`` column, "tune" chooses the epochs of both.

        Args:
            data: images, none of them test images.
            base: a classifier of the same classes whose architecture, preparation and weights the student starts from.
            rng: seeds initial weights and order.
            progress: hears of every step.

        Raises:
            InputError: test images, images without one label each, or a base or teacher of other classes.
        """
        data = data.for_fitting()
        if data.class_names is None or not data.has_labels or not (data.labels >= 0).any():
            raise InputError(f"{data.name}: defensive distillation needs images with one label each, and it has none")
        classes = data.class_names
        _check_classes(base, "base", classes)
        built = architecture_of(self.architecture, len(classes)) if base is None else dict(base.card.architecture)
        preparation = (
            Preparation(size=(self.side, self.side), resize="shorter", resize_to=(self.side, self.side))
            if base is None
            else Preparation.model_validate(base.card.preparation)
        )
        student = self._new(built, rng.child("student"))
        if base is not None:
            load_strictly(student, base.tensors, source=base.card.name)
        teacher, fixed = self._teacher(built, classes, preparation, rng)
        stores = {
            split: ImageStore.of_images(data.of_split(split), preparation, progress=progress)
            for split in ("train", "tune")
            if "tune" in data.column("split")
        } or {"train": ImageStore.of_images(data, preparation, progress=progress)}
        trained = distil(
            teacher,
            student,
            stores["train"],
            temperature=self.temperature,
            hard_share=self.hard_share,
            plan=self.plan.model_copy(update={"seed": rng.generator("training").initial_seed() % 2**31}),
            teacher_is_trained=fixed,
            tune=stores.get("tune"),
            progress=progress,
        ).student
        best = next(row for row in trained.history if row["epoch"] == trained.best_epoch)
        card = Card(
            name=f"defensive-distillation-{self.temperature:g}",
            kind="classifier",
            architecture=built,
            class_names=classes,
            task="single",
            preparation=preparation.model_dump(mode="json"),
            normalization=base.card.normalization if base is not None else {"mean": [0.0] * 3, "std": [1.0] * 3},
            metrics={key: round(value, 6) for key, value in best.items() if key.startswith("tune.")},
            lineage=Lineage(
                recipe={**self.record(), "rejected": len(trained.rejected)},
                data=trained.data,
                seed=rng.seed,
                code_version=__version__,
                parent=base.card.sha256 if base is not None else None,
                environment=record_environment(),
            ),
        )
        return Artifact(dict(trained.weights), card)

    def _teacher(
        self, student: Mapping[str, Any], classes: tuple[str, ...], preparation: Preparation, rng: Randomness
    ) -> tuple[nn.Module, bool]:
        """The teacher, and whether it is trained already."""
        if self.teacher is None or not self.teacher.startswith(TRAINED):
            built = dict(student) if self.teacher is None else architecture_of(self.teacher, len(classes))
            return self._new(built, rng.child("teacher")), False
        artifact = Artifact.load(Path(self.teacher.removeprefix(TRAINED)))
        _check_classes(artifact, "teacher", classes)
        if Preparation.model_validate(artifact.card.preparation) != preparation:
            raise InputError(
                f"the teacher {artifact.card.name!r} prepares images otherwise than the student; train both at one side"
            )
        teacher = build_network(artifact.card.architecture, self.teacher)
        load_strictly(teacher, artifact.tensors, source=artifact.card.name)
        return teacher, True

    def _new(self, architecture: dict[str, Any], rng: Randomness) -> nn.Module:
        with seeded(rng.generator("initial weights").initial_seed(), torch.device("cpu")):
            network = untrained(architecture)
        return scale_last_layer(network, self.temperature) if self.scaled_start else network


def _check_classes(artifact: Artifact | None, role: str, classes: tuple[str, ...]) -> None:
    if artifact is not None and (artifact.card.kind != "classifier" or artifact.card.class_names != classes):
        raise InputError(
            f"the {role} {artifact.card.name!r} is a {artifact.card.kind} of {len(artifact.card.class_names)} classes; "
            f"expected a classifier of the {len(classes)} classes of the images"
        )
