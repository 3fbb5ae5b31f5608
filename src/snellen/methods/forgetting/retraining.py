"""Exact unlearning: train from initial weights on the remaining images, by the recipe of the classifier."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator

from snellen.core.errors import InputError
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.forgetter import Forgetter, Forgetting, fit_network
from snellen.methods.forgetting.initial_weights import redraw
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import in_sequence, random_flips, random_resized_crops

#: As published for CIFAR-10: SGD, 182 passes, batches of 256, a rate of 0.1 that falls along a cosine.
PUBLISHED = TrainingPlan(epochs=182, batch_size=256, optimizer="sgd", learning_rate=0.1, weight_decay=5e-4)


def _over_published(given: Any, check: ValidatorFunctionWrapHandler) -> TrainingPlan:  # noqa: ANN401 - what was written
    """Lay a mapping over the published numbers; the plan remembers which ones were given."""
    if not isinstance(given, Mapping):
        plan: TrainingPlan = check(given)
        return plan
    merged: TrainingPlan = check({**PUBLISHED.model_dump(), **given})
    numbers = {name: getattr(merged, name) for name in TrainingPlan.model_fields}
    return TrainingPlan.model_construct(_fields_set=set(given), **numbers)


class Retraining(Forgetter):
    """Retrain without the forget set: what every approximate method is measured against.

    Initial weights are drawn as the layers draw them when they are built. Numbers are those of the training of the
    classifier: a retraining by another recipe differs for reasons that have nothing to do with forgetting.

    >>> Retraining(plan={"epochs": 30}).plan.learning_rate
    0.1
    """

    name: ClassVar[str] = "retraining"
    exact: ClassVar[bool] = True

    plan: Annotated[TrainingPlan, WrapValidator(_over_published)] = Field(
        PUBLISHED, description="numbers of the training; those that a mapping leaves out are the published ones"
    )
    smallest_crop: float = Field(
        1.0, gt=0, le=1, description="least share of an image that a random resized crop shows; 1: no crops"
    )
    flips: bool = Field(False, description="mirror half of the training images, left to right")

    def forgotten(self, network: PreparedNetwork, split: ForgetSplit, call: Forgetting) -> PreparedNetwork:
        """Train from initial weights on the remaining images alone."""
        fresh = copy.deepcopy(network)
        redraw(fresh.network.modules(), call.rng)
        views = [
            *([random_resized_crops(self.smallest_crop)] if self.smallest_crop < 1 else []),
            *([random_flips] if self.flips else []),
        ]
        transform = in_sequence(*views) if len(views) > 1 else views[0] if views else None
        return fit_network(fresh, split.remaining, self.plan, call, recipe=self.record(), transform=transform)


def of_lineage(recipe: Mapping[str, Any]) -> Retraining:
    """The retraining that repeats the recipe in the lineage of an artifact.

    Raises:
        InputError: a recipe that is more than cross-entropy with crops and flips.
    """
    name = str(recipe.get("method", "none"))
    if name != "supervised":
        raise InputError(
            f"the lineage of the classifier names the recipe {name!r}, and only 'supervised' can be repeated here; "
            f"give the numbers of the retraining, or retrain with snellen train on the remaining images"
        )
    return Retraining.model_validate({key: recipe[key] for key in Retraining.model_fields if key in recipe})


def as_trained(given: Retraining, recipe: Mapping[str, Any], name: str, remedy: str) -> Retraining:
    """The retraining of a classifier: what was given, laid over the recipe in its lineage.

    Args:
        given: its given fields, and the given numbers of its plan, count; others are the recipe's.
        recipe: in the lineage of the classifier; empty: not known.
        name: of the classifier, for errors.
        remedy: how a plan is given.

    Raises:
        InputError: no plan, and no known recipe or one that cannot be repeated.
    """
    planned = "plan" in given.model_fields_set
    if not recipe and not planned:
        raise InputError(
            f"how {name} was trained is not known, so it cannot be retrained by the same recipe; give numbers: {remedy}"
        )
    if planned and recipe.get("method") != "supervised":
        return given
    own = of_lineage(recipe)
    changed: dict[str, Any] = {one: getattr(given, one) for one in given.model_fields_set}
    if planned:
        numbers = {one: getattr(given.plan, one) for one in given.plan.model_fields_set}
        changed["plan"] = TrainingPlan.model_validate({**own.plan.model_dump(), **numbers})
    return own.model_copy(update=changed)
