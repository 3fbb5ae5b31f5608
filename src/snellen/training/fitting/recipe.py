"""The frame of recipes that train one classifier: they differ in objective and transform alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier
from snellen.core.errors import SnellenError
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.models.classifiers.artifact_models import architecture_of
from snellen.training.evaluation import Evaluate, accuracy
from snellen.training.fitting.frame import FittedMethod, Fitting, laid_over
from snellen.training.fitting.groundwork import Groundwork, label_figures, lay_groundwork
from snellen.training.loop import Trained, train
from snellen.training.objectives import Objective, classify, label_cross_entropy, on_scores
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform, in_sequence, random_flips, random_resized_crops

#: Of recipes whose papers leave the numbers to the task.
PLAN = TrainingPlan(epochs=30, batch_size=128, learning_rate=1e-3, weight_decay=0.05, clip_norm=1.0)


def _all_of_it(trained: Trained) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    return trained.weights, {}


@dataclass(frozen=True, eq=False)
class Course:
    """One training of a classifier.

    Args:
        ground: what it starts from; its network may be more than the classifier.
        recipe: what made this, as JSON values; a checkpoint of another recipe is refused.
        objective: what is minimised.
        transform: augmentation of each batch.
        evaluate: figures on the validation split.
        finish: gives the classifier's weights and further facts for the lineage, after the loop.
    """

    ground: Groundwork
    recipe: Mapping[str, Any]
    objective: Objective = classify
    transform: BatchTransform | None = None
    evaluate: Evaluate = accuracy
    finish: Callable[[Trained], tuple[Mapping[str, Tensor], Mapping[str, Any]]] = _all_of_it

    def run(self, name: str) -> Artifact:
        """Train, and write the card of an artifact of this name."""
        trained = train(
            self.ground.network,
            self.ground.examples,
            plan=self.ground.plan,
            objective=self.objective,
            transform=self.transform,
            val=self.ground.val,
            evaluate=self.evaluate,
            checkpoint=self.ground.fitting.checkpoint,
            recipe=dict(self.recipe),
            progress=self.ground.fitting.progress,
        )
        weights, facts = self.finish(trained)
        return self.ground.artifact(trained, name=name, recipe={**self.recipe, **facts}, weights=weights)


class ClassifierRecipe(FittedMethod):
    """The network to train, the size of its images and the numbers of the training; subclasses add what is special.

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
        """Say why this cannot run; without images, also an architecture that does not exist: a base brings its own."""
        return lacking_architecture(self.architecture, images) or super().missing(classifier, images)

    def objective(self) -> Objective | None:
        """What is minimised, for images with one label each; None: cross-entropy of one or several labels."""
        return None

    def transform(self, class_count: int) -> BatchTransform | None:
        """What is done to batches after crops and flips."""
        return None

    def views(self, special: BatchTransform | None = None) -> BatchTransform | None:
        """Crops and flips as requested, then what is special; None where nothing is done."""
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

    def ground(self, fitting: Fitting) -> Groundwork:
        """What the training starts from."""
        several = self.objective() is None
        return lay_groundwork(
            fitting, architecture=self.architecture, side=self.side, plan=self.plan, several_labels=several
        )

    def course(self, fitting: Fitting) -> Course:
        """The training: one label by cross-entropy, several by binary cross-entropy, or by the recipe's objective."""
        ground = self.ground(fitting)
        return Course(
            ground,
            self.recipe(),
            objective=self.objective() or (on_scores(label_cross_entropy) if ground.several else classify),
            transform=self.views(self.transform(len(ground.class_names))),
            evaluate=label_figures if ground.several else accuracy,
        )

    def fitted(self, fitting: Fitting) -> Artifact:
        """Train on labelled images."""
        return self.course(fitting).run(self.title())


def lacking_architecture(reference: str, images: ImageSet | None) -> str | None:
    """Say that there is no such architecture, before any images are given; later, building it says so."""
    if images is not None:
        return None
    try:
        architecture_of(reference, 2)
    except SnellenError as error:
        return f"cannot train: {error}"
    return None
