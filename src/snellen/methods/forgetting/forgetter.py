"""What every unlearning method stands on: numbers of its training, one loop for all, and parts of networks."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import Field
from torch import Tensor, nn

from snellen.core.method import Method, Need
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.training.batches import Examples
from snellen.training.loop import train
from snellen.training.objectives import Objective, classify
from snellen.training.plan import Schedule, TrainingPlan
from snellen.training.transforms import BatchTransform

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Forgetting:
    """One call of ``forget``.

    Attributes:
        rng: of everything random.
        checkpoint: where a training saves its state, to go on from; None: nowhere.
        progress: callback that receives progress updates.
    """

    rng: Randomness
    checkpoint: Path | None = None
    progress: Progress | None = None


class Forgetter(Method):
    """A method that removes what a network learned from some images; subclasses say how in ``forgotten``."""

    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "layers"})

    #: Whether what remains of a forget set can be nothing at all: the network never saw it.
    exact: ClassVar[bool] = False

    def forget(
        self,
        network: PreparedNetwork,
        split: ForgetSplit,
        *,
        rng: Randomness,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
    ) -> PreparedNetwork:
        """A network, in evaluation mode, that should behave as if it had never seen the forget set.

        Args:
            network: trained on all images; stays as it is.
            split: which images to forget.
            rng: of everything random. checkpoint: file to save to, and to go on from.
            progress: callback that receives progress updates.

        Raises:
            ModelError: the method diverges: losses or weights are not finite.
        """
        return self.forgotten(copy.deepcopy(network), split, Forgetting(rng, checkpoint, progress)).eval()

    @abstractmethod
    def forgotten(self, network: PreparedNetwork, split: ForgetSplit, call: Forgetting) -> PreparedNetwork:
        """What becomes of a copy of the network."""


class TunedForgetter(Forgetter):
    """A method that trains on from the weights of the network, by the published optimizer.

    Fan et al. (2024), section 5 and the authors' answers: SGD, momentum 0.9, weight decay 5e-4, batches of 256, ten
    passes at a constant rate that is searched in [1e-4, 1e-1].
    """

    epochs: int = Field(10, ge=1, description="passes over the images")
    batch_size: int = Field(256, ge=2, description="images of one step")
    learning_rate: float = Field(0.01, gt=0, description="of SGD; published: searched between 1e-4 and 1e-1")
    momentum: float = Field(0.9, gt=0, lt=1, description="of SGD (Nesterov)")
    weight_decay: float = Field(5e-4, ge=0, description="of weights, not of biases and normalisation")

    def trained_on(
        self,
        network: Network,
        examples: Examples,
        call: Forgetting,
        objective: Objective = classify,
        *,
        epochs: int | None = None,
        part: str = "",
        schedule: Schedule = "constant",
    ) -> Network:
        """Train the network on, in place.

        Args:
            network: that is trained.
            examples: images of each pass.
            call: as ``forget`` was called.
            objective: losses (n,).
            epochs: passes, in place of ``self.epochs``.
            part: name of a training of several.
            schedule: course of the rate.
        """
        plan = TrainingPlan(
            epochs=epochs or self.epochs,
            batch_size=self.batch_size,
            optimizer="sgd",
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=schedule,
        )
        return fit_network(network, examples, plan, call, objective, recipe={**self.record(), "part": part}, part=part)


def fit_network(
    network: Network,
    examples: Examples,
    plan: TrainingPlan,
    call: Forgetting,
    objective: Objective = classify,
    *,
    recipe: Mapping[str, Any],
    transform: BatchTransform | None = None,
    part: str = "",
) -> Network:
    """The one loop with numbers of a plan, in place; weights of the last pass are taken."""
    used = int((examples.weights > 0).sum())
    place = call.checkpoint
    trained = train(
        network,
        examples,
        plan=plan.model_copy(
            update={
                # A last batch of one image has no statistics for BatchNorm.
                "drop_last": used > plan.batch_size and used % plan.batch_size == 1,
                "seed": call.rng.generator(f"forgetting {part}").initial_seed() % 2**31,
            }
        ),
        objective=objective,
        transform=transform,
        checkpoint=place if place is None or not part else place.with_stem(f"{place.stem}-{part.replace(' ', '-')}"),
        recipe=recipe,
        progress=call.progress,
    )
    weights: dict[str, Tensor] = dict(trained.weights)
    network.load_state_dict(weights)
    return network
