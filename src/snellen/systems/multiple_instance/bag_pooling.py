"""Learning from labels of bags in the ways that instance-level learning is compared with.

Copied labels (SimpleMIL); mean and maximum pooling; attention (Ilse et al. 2018); attention with clustering, after CLAM
(Lu et al. 2021); two streams, after DSMIL (Li et al. 2021); a transformer, after TransMIL (Shao et al. 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.metrics.bag_pooling import Pooling
from snellen.models.encoders.head_on_encoder import InstanceHead
from snellen.systems.multiple_instance.bag_figures import bag_scores, best_threshold
from snellen.systems.multiple_instance.bag_head import BagHead
from snellen.systems.multiple_instance.bag_recipe import BagRecipe, part_of
from snellen.systems.multiple_instance.bag_training import learn_bags, learn_labels, pooling_of
from snellen.training.fitting.frame import Fitting, laid_over
from snellen.training.plan import TrainingPlan

#: Close to what the papers have: one bag a step, Adam at 2e-4.
PLAN = TrainingPlan(epochs=50, batch_size=1, learning_rate=2e-4, weight_decay=1e-3, schedule="constant")

Aggregator = Literal["copied_labels", "mean", "max", "attention", "clustering_attention", "dual_stream", "transformer"]

#: Head of each way, as a card names it, with further arguments.
HEADS: Mapping[Aggregator, Mapping[str, Any]] = {
    "copied_labels": {"head": "instance"},
    "mean": {"head": "pooled", "pooling": "mean"},
    "max": {"head": "pooled", "pooling": "max"},
    "attention": {"head": "attention"},
    "clustering_attention": {"head": "clustering_attention"},
    "dual_stream": {"head": "dual_stream"},
    "transformer": {"head": "transformer"},
}


class BagPooling(BagRecipe):
    """Train a head whose score is that of the bag, by the labels of bags.

    The classifier that comes out decides about a single image as about a bag of its own. With copied labels, mean and
    maximum, bags are pooled from that, as the card says; the other heads weigh the images of a bag in ways that single
    images do not show, so that their card names no pooling: what an audit pools of them is not their own bag score.

    >>> BagPooling(aggregator="attention").plan.batch_size
    1
    """

    name: ClassVar[str] = "bag_pooling"

    aggregator: Aggregator = Field("attention", description="how the instances of a bag become its score")
    plan: Annotated[TrainingPlan, laid_over(PLAN)] = Field(
        PLAN, description="numbers of the training; a batch is of bags, and of images with copied labels"
    )

    def missing(self, classifier: Classifier | None = None, images: ImageSet | None = None) -> str | None:
        """Say why this cannot run: no bags, not two classes, or a width that the transformer cannot divide."""
        if self.aggregator == "transformer" and self.width % 8:
            return f"needs a width that 8 divides, for the heads of the transformer, and width is {self.width}"
        return super().missing(classifier, images)

    def fitted(self, fitting: Fitting) -> Artifact:
        """Train on bags; errors as those of multiple_instance_learning."""
        ground = self.lay_ground(fitting)
        of_head = HEADS[self.aggregator]
        arguments = {name: value for name, value in of_head.items() if name != "head"}
        head = self.initial_head(ground, str(of_head["head"]), **arguments)
        plan, recipe = fitting.seeded(self.plan), {**self.record(), "keep": None}
        checkpoint, progress = fitting.checkpoint, fitting.progress
        instances, val, pooling = ground.instances, ground.val, self._own_pooling()
        if isinstance(head, InstanceHead):
            labels = instances.instance_labels
            trained = learn_labels(
                head, instances, labels, val, plan=plan, checkpoint=checkpoint, recipe=recipe, progress=progress
            )
            pooling = pooling_of(trained)
        else:
            assert isinstance(head, BagHead)
            trained = learn_bags(
                head, instances, val, plan=plan, checkpoint=checkpoint, recipe=recipe, progress=progress
            )
        head.load_state_dict(part_of(trained.weights, "head."))
        decision: dict[str, Any] = {}
        if pooling is not None:
            decision = {"pooling": pooling, "threshold": 0.5}
            if val is not None:
                with torch.no_grad():
                    scores = bag_scores(head(val.inputs), val, pooling)
                decision["threshold"] = round(best_threshold(scores, val.labels.numpy()), 6)
        return self.artifact(
            ground,
            head,
            of_head=of_head,
            history=tuple(
                {name: value for name, value in row.items() if name != "val.selection"} for row in trained.history
            ),
            best_epoch=trained.best_epoch,
            bag_decision=decision,
        )

    def _own_pooling(self) -> Pooling | None:
        """The pooling that a head is, where single images hold all that it needs."""
        return self.aggregator if self.aggregator in ("mean", "max") else None
