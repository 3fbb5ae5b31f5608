"""A patch classifier and a slide classifier from labels of slides alone (INS).

Qu, Ma, Luo, Guo, Wang and Song, "Rethinking multiple instance learning for whole slide image classification: a good
instance classifier is all you need", IEEE TCSVT 34(10), 2024, arXiv 2307.02249.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.models.encoders.head_on_encoder import InstanceHead
from snellen.systems.multiple_instance.bag_figures import bag_scores, best_threshold
from snellen.systems.multiple_instance.bag_recipe import BagRecipe, part_of
from snellen.systems.multiple_instance.feature_views import feature_views
from snellen.systems.multiple_instance.instance_training import PLAN, learn_instances, phases
from snellen.systems.multiple_instance.settings import InstanceSettings
from snellen.training.fitting.frame import Fitting, laid_over
from snellen.training.plan import TrainingPlan


class MultipleInstanceLearning(BagRecipe, InstanceSettings):
    """Train a classifier of single images when only bags have labels; bags are pooled from it.

    After a pretraining with copied labels and a warm-up that separates instances from each other, instances of positive
    bags get pseudo labels: prototypes of both classes move them, while the classifier says which instances a
    contrastive loss draws together. Instances of negative bags are negative throughout. The encoder is not trained;
    what is trained behind its vectors is one hidden layer, the classifier and the projection, and the two views of an
    instance are made of its vector.

    >>> MultipleInstanceLearning().first_inertia, MultipleInstanceLearning().plan.epochs
    (0.95, 150)
    """

    name: ClassVar[str] = "multiple_instance_learning"

    noise: float = Field(0.2, ge=0, description="standard deviation of what a view adds to each standardised entry")
    hidden: float = Field(0.2, ge=0, lt=1, description="share of the entries of a vector that a view hides")
    plan: Annotated[TrainingPlan, laid_over(PLAN)] = Field(
        PLAN, description="numbers of the training, all phases together; those left out are the paper's"
    )

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: no bags, not two classes, or too few epochs."""
        try:
            phases(self, self.plan.epochs)
        except InputError as error:
            return f"cannot train: {error}"
        return super().missing(classifier, images)

    def fitted(self, fitting: Fitting) -> Artifact:
        """Train on bags; labels of images are not read, and bags of "val" choose epoch, pooling and threshold.

        Raises:
            InputError: bags without labels, of one class, or without a usable image.
        """
        ground = self.lay_ground(fitting)
        head = self.initial_head(ground, "instance")
        assert isinstance(head, InstanceHead)
        learnt = learn_instances(
            ground.instances,
            ground.val,
            encoder=head.hidden,
            classifier=head.scores,
            views=feature_views(noise=self.noise, hidden=self.hidden),
            settings=self,
            plan=fitting.seeded(self.plan),
            checkpoint=fitting.checkpoint,
            recipe={**self.record(), "keep": None},
            progress=fitting.progress,
        )
        head.hidden.load_state_dict(part_of(learnt.weights, "encoder."))
        head.scores.load_state_dict(part_of(learnt.weights, "classifier."))
        threshold = 0.5
        if ground.val is not None:
            with torch.no_grad():
                scores = bag_scores(head(ground.val.inputs), ground.val, learnt.pooling)
            threshold = best_threshold(scores, ground.val.labels.numpy())
        return self.artifact(
            ground,
            head,
            of_head={"head": "instance"},
            history=learnt.history,
            best_epoch=learnt.best_epoch,
            bag_decision={"pooling": learnt.pooling, "threshold": round(threshold, 6)},
        )
