"""The frame of recipes that train on blends of a learning generator; the generator is dropped at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.adversarial_mixup.adversarial_mixing import (
    AdversarialMixing,
    MixSettings,
    four_heads,
    mixing_objective,
)
from snellen.systems.adversarial_mixup.two_heads import middle_layer
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore, cut_steps, epoch_order
from snellen.training.fitting.frame import Fitting, laid_over
from snellen.training.fitting.groundwork import lay_groundwork
from snellen.training.fitting.recipe import PLAN, ClassifierRecipe, Course
from snellen.training.loop import Trained
from snellen.training.plan import TrainingPlan

_PLAN = PLAN.model_copy(update={"drop_last": True})


class BlendRecipe(ClassifierRecipe):
    """Options of a training on blends; subclasses say how the generator learns.

    The result is the teacher with its head for clean images, an ordinary classifier of the architecture: nothing of the
    generator is needed to use it.
    """

    parts: int = Field(2, ge=2, le=8, description="images in a blend")
    random_parts: bool = Field(False, description="draw the number of images in the blends of a batch, 2 to parts")
    alpha: float = Field(1.0, gt=0, description="of the Beta distribution of the shares of a label")
    margin: float = Field(
        0.03, ge=0, lt=0.5, description="plain mixup where one image has all of the label but this; 0: never"
    )
    feature_layer: str | None = Field(
        None, description="layer whose maps masks are made of; None: the last stage but one of fashion_cnn and of timm"
    )
    knows_shares: bool = Field(False, description="tell the generator the shares (published for ImageNet and Swin)")
    generator_rate: float = Field(
        1.0,
        gt=0,
        description="learning rate of the generator in units of the plan's; published: 0.5 Tiny-ImageNet, 1 ImageNet, "
        "2 Swin",
    )
    area_weight: float = Field(
        0.0, ge=0, description="weight of the loss that pulls the area of a mask to its share; AutoMix: 0.1"
    )
    area_slack: float = Field(0.1, ge=0, lt=1, description="distance of area and share that this loss leaves free")
    attention_gain: float | None = Field(
        None,
        gt=0,
        description="normalise the generator's queries and keys, with these first weights; for maps of few channels",
    )
    upsampling: Literal["bilinear", "nearest"] = Field(
        "bilinear", description="from maps to pixels; nearest is published for transformers"
    )
    clean_share: float = Field(0.5, ge=0, le=1, description="weight of clean images against plain mixup, if parts > 2")
    momentum: float = Field(0.999, ge=0, lt=1, description="of the teacher, in the first part of the training")
    last_momentum: float = Field(0.999999, ge=0, le=1, description="of the teacher, at the end")
    held: float = Field(0.1, ge=0, le=1, description="part of the training after which the momentum begins to rise")
    parity: bool = Field(
        False,
        description="as the published code: one share for a batch, a margin that looks at the first image alone, no "
        "warm-up of the teacher's momentum",
    )
    plan: Annotated[TrainingPlan, laid_over(_PLAN)] = Field(
        _PLAN, description="numbers of the training, the generator's included; left out, they are the recipe's"
    )

    def mixing(self) -> MixSettings:
        """The numbers of the method."""
        own = type(self).model_fields.keys() & MixSettings.model_fields.keys()
        return MixSettings(**{field: getattr(self, field) for field in own})

    def course(self, fitting: Fitting) -> Course:
        """The training of teacher, student and generator; the deployed head chooses the epoch.

        Raises:
            InputError: fewer images in a batch than in a blend; a plan with accumulated batches or an average.
        """
        plain = lay_groundwork(fitting, architecture=self.architecture, side=self.side, plan=self.plan)
        module = mixing_module(
            plain.network,
            plain.examples,
            class_count=len(plain.class_names),
            settings=self.mixing(),
            plan=plain.plan,
            feature_layer=self.feature_layer,
            rng=fitting.rng,
        )

        def finish(trained: Trained) -> tuple[Mapping[str, Tensor], dict[str, int]]:
            weights, skipped = deployed(module, trained)
            return weights, {"skipped_generator_losses": skipped, "blends_without_masks": int(module.maskless)}

        return Course(
            replace(plain, network=module),
            self.recipe(),
            objective=mixing_objective,
            transform=self.views(),
            evaluate=four_heads,
            finish=finish,
        )


def mixing_module(
    network: nn.Module,
    examples: ImageStore,
    *,
    class_count: int,
    settings: MixSettings,
    plan: TrainingPlan,
    feature_layer: str | None,
    rng: Randomness,
) -> AdversarialMixing:
    """Put a network, its teacher and a generator together for a training.

    Raises:
        InputError: a training set of one class, batches with fewer images than a blend, or a plan that accumulates
            batches or averages weights.
    """
    classes = examples.targets.unique() if examples.targets.ndim == 1 else examples.targets.argmax(1).unique()
    if len(classes) < 2:
        raise InputError(
            "all training images are of one class: there is nothing to blend; give images of two or more classes"
        )
    if plan.accumulate > 1 or plan.ema_decay is not None:
        raise InputError(
            "the teacher of this recipe follows every batch and is an average already: leave plan.accumulate at 1 and "
            "plan.ema_decay out, and choose a larger batch_size instead"
        )
    steps = cut_steps(
        epoch_order(examples, seed=plan.seed, epoch=1), batch_size=plan.batch_size, drop_last=plan.drop_last
    )
    least = min((len(batch) for step in steps for batch in step), default=0)
    if least < settings.parts:
        raise InputError(
            f"a blend takes {settings.parts} images, and {len(examples)} training images in batches of "
            f"{plan.batch_size} leave a batch of {least}; change plan.batch_size, or leave out the last, smaller batch "
            f"with plan.drop_last"
        )
    with seeded(rng.generator("heads and generator").initial_seed(), torch.device("cpu")):
        return AdversarialMixing(
            network,
            class_count,
            settings=settings,
            feature_layer=feature_layer or middle_layer(network),
            total_steps=len(steps) * plan.epochs,
            size=(examples.images.shape[2], examples.images.shape[3]),
        )


def deployed(module: AdversarialMixing, trained: Trained) -> tuple[Mapping[str, Tensor], int]:
    """Weights of the teacher's network with its head for clean images, and how many generator losses were skipped.

    The trained weights are loaded into the module.
    """
    module.load_state_dict(dict(trained.weights))
    # Without a validation split no scores were requested after the last step.
    module.follow()
    return module.teacher.network.state_dict(), int(module.skipped)
