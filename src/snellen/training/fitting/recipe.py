"""The frame of recipes that train one classifier: they differ in objective and transform alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier
from snellen.core.errors import SnellenError
from snellen.core.images import ImageSet
from snellen.core.method import Method, Need
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.models.classifiers.untrained import architecture_of
from snellen.training.crops import random_resized_crops
from snellen.training.fitting.classifiers import fit_classifier
from snellen.training.objectives import Objective
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform, in_sequence, random_flips

#: Of recipes whose papers leave the numbers to the task.
PLAN = TrainingPlan(epochs=30, batch_size=128, learning_rate=1e-3, weight_decay=0.05, clip_norm=1.0)


def laid_over(plan: TrainingPlan) -> BeforeValidator:
    """Lay the numbers of a mapping over a recipe's own; anything else, such as a whole plan, stays as it is."""
    return BeforeValidator(lambda given: {**plan.model_dump(), **given} if isinstance(given, Mapping) else given)


class ClassifierRecipe(Method):
    """What is trained, on images of which size, with which numbers; subclasses say what is special.

    Crops and flips come first and are the same for every recipe, so that recipes can be compared. Both are off by
    default: what may be cut or mirrored depends on the images (text, laterality, small findings).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    architecture: str = Field("timm:resnet18", description="fashion_cnn or timm:NAME; a base brings its own")
    side: int = Field(224, ge=8, description="height and width of the images, pixels; a base brings its own")
    smallest_crop: float = Field(
        1.0, gt=0, le=1, description="least share of an image that a random resized crop shows; 1: no crops"
    )
    flips: bool = Field(False, description="mirror half of the training images, left to right")
    plan: Annotated[TrainingPlan, laid_over(PLAN)] = Field(
        PLAN, description="numbers of the training; those that a mapping leaves out are the recipe's"
    )

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run without a base: an architecture that does not exist."""
        try:
            architecture_of(self.architecture, 2)
        except SnellenError as error:
            return f"cannot train: {error}"
        return super().missing(classifier, images)

    def objective(self) -> Objective | None:
        """What is minimised, for images with one label each; None: cross-entropy of one or several labels."""
        return None

    def transform(self, class_count: int) -> BatchTransform | None:
        """What is done to batches after crops and flips."""
        return None

    def views(self, special: BatchTransform | None = None) -> BatchTransform | None:
        """Crops and flips as they were asked for, then what is special; None where nothing is done."""
        steps = [
            *([random_resized_crops(self.smallest_crop)] if self.smallest_crop < 1 else []),
            *([random_flips] if self.flips else []),
            *([special] if special is not None else []),
        ]
        return in_sequence(*steps) if len(steps) > 1 else steps[0] if steps else None

    def title(self) -> str:
        """Name of the artifact."""
        return self.name.replace("_", "-")

    def recipe(self) -> dict[str, Any]:
        """What the lineage records."""
        return self.record()

    def fit(
        self,
        data: ImageSet,
        *,
        base: Artifact | None = None,
        rng: Randomness,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
    ) -> Artifact:
        """Train on labelled images; see :func:`snellen.training.fitting.classifiers.fit_classifier`."""
        return fit_classifier(
            data,
            name=self.title(),
            architecture=self.architecture,
            side=self.side,
            plan=self.plan,
            transform=self.views(self.transform(len(data.class_names or ()))),
            base=base,
            rng=rng,
            recipe=self.recipe(),
            objective=self.objective(),
            checkpoint=checkpoint,
            progress=progress,
        )
