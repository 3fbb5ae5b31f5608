"""Training on from the weights that a network has: terms that treatments add, in one loop.

A treatment adds a :class:`Term`: changed images, weights of examples, a further loss. Several treatments are then one
training. The learning rate is relative to the weights, so that one number fits networks of other sizes and origins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.training.batches import Batch, ImageStore
from snellen.training.evaluation import accuracy
from snellen.training.loop import train
from snellen.training.objectives import Objective, cross_entropy
from snellen.training.optimizers import split_decayed
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform, one_of

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Term:
    """What a treatment adds to a fine-tuning.

    Attributes:
        transforms: each makes changed images of the same classes; every image of a batch gets one of all terms'
            transforms, or stays as it is, with equal probability.
        weights: float (n,), of each training example; those of several terms are multiplied.
        targets: (n, ...), in place of the targets of the training examples; of one term alone.
        objective: losses (n,) that are added to the cross-entropy.
        weigh: (model, batch, cross-entropies (n,)) → what counts in their place, (n,).
        state: tensors that ``weigh`` or ``objective`` change as they go, by name: buffers of the model that they are
            given, and saved with its weights.
    """

    transforms: tuple[BatchTransform, ...] = ()
    weights: Tensor | None = None
    targets: Tensor | None = None
    objective: Objective | None = None
    weigh: Callable[[nn.Module, Batch, Tensor], Tensor] | None = None
    state: Mapping[str, Tensor] = field(default_factory=dict)


#: Most passes over few images for the sake of enough steps.
MOST_PASSES = 20


class TuningPlan(BaseModel):
    """Numbers of a fine-tuning.

    >>> TuningPlan().passes(1000), TuningPlan().passes(100_000)
    (20, 1)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(320, ge=1, description="steps, about: whole passes over the training images, one at least")
    epochs: int | None = Field(None, ge=1, description="passes over the training images, in place of steps")
    batch_size: int = Field(64, ge=2, description="images of one step")
    rate: float = Field(
        0.008, gt=0, description="peak learning rate as a share of the size of the weights (their median RMS)"
    )
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")

    def passes(self, images: int) -> int:
        """Passes over so many training images."""
        return self.epochs or min(max(round(self.steps * self.batch_size / images), 1), MOST_PASSES)


def fine_tune(
    network: Network,
    examples: ImageStore,
    terms: Sequence[Term],
    *,
    plan: TuningPlan,
    rng: Randomness,
    checkpoint: Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Network:
    """Train a network on, in place: cross-entropy on clean and changed images, and what the terms add.

    The last epoch is taken: treatments are chosen by what they do on validation images, and not epochs.

    Args:
        network: images in [0, 1] → scores; parameters that do not require gradients stay as they are.
        examples: training images.
        terms: of the treatments; none is plain fine-tuning.
        plan: numbers.
        rng: of order, changes and dropout.
        checkpoint: file to save to and to go on from.
        recipe: what else defines this training; a checkpoint of another is refused.
        progress: who is shown every step.

    Returns:
        The network, in evaluation mode.

    Raises:
        InputError: two terms have targets.
    """
    changed = [term.targets for term in terms if term.targets is not None]
    if len(changed) > 1:
        raise InputError(f"{len(changed)} treatments change the training labels, and one training has one set of them")
    weights = examples.weights
    for term in terms:
        weights = weights if term.weights is None else weights * term.weights
    used = int((weights > 0).sum())
    epochs = plan.passes(used)
    transforms = [one for term in terms for one in term.transforms]
    weighing = [term.weigh for term in terms if term.weigh is not None]
    added = [term.objective for term in terms if term.objective is not None]

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        losses = cross_entropy(model(batch.images).float(), batch.targets)
        for weigh in weighing:
            losses = weigh(model, batch, losses)
        for one in added:
            losses = losses + one(model, batch)
        return losses

    tuned = _Tuned(network, {name: tensor for term in terms for name, tensor in term.state.items()})
    trained = train(
        tuned,
        ImageStore(
            examples.images,
            changed[0] if changed else examples.targets,
            examples.ids,
            weights.float(),
            examples.split,
            examples.rejected,
        ),
        plan=TrainingPlan(
            epochs=epochs,
            batch_size=plan.batch_size,
            learning_rate=plan.rate * typical_weight(network),
            weight_decay=plan.weight_decay,
            clip_norm=1.0,
            # A last batch of one image has no statistics for BatchNorm.
            drop_last=used > plan.batch_size,
            warmup_steps=min(20, epochs * max(used // plan.batch_size, 1) // 2),
            seed=rng.generator("fine-tuning").initial_seed() % 2**31,
        ),
        objective=objective,
        transform=one_of(*transforms) if transforms else None,
        checkpoint=checkpoint,
        recipe=recipe,
        progress=progress,
    )
    tuned.load_state_dict(trained.weights)
    return network.eval()


#: Shares of the way from the old weights to the new ones that are tried, the whole way first.
SHARES = (1.0, 0.75, 0.5, 0.25)


def within_loss(
    network: nn.Module, before: Mapping[str, Tensor], examples: ImageStore, *, accuracy_before: float, most: float
) -> float:
    """Go back towards the weights before a fine-tuning, in place, until hardly any clean accuracy is lost.

    Weights between the two are as good on clean images as the old ones, or better, and keep much of what was learnt
    (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, arXiv 2109.01903, equation 1).

    Args:
        network: fine-tuned.
        before: its weights before that.
        examples: validation images.
        accuracy_before: on these.
        most: largest loss of accuracy.

    Returns:
        The largest of :data:`SHARES` that loses no more; the smallest where each loses more.
    """
    after = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for share in SHARES:
        mixed = {
            name: torch.lerp(before[name], tensor, share) if tensor.is_floating_point() and share < 1 else tensor
            for name, tensor in after.items()
        }
        network.load_state_dict(mixed)
        if accuracy(network.eval(), examples)["accuracy"] >= accuracy_before - most:
            break
    return share


def typical_weight(network: nn.Module) -> float:
    """Median over the weight matrices of their root mean square: what a learning rate is relative to.

    >>> layer = nn.Linear(4, 2)
    >>> _ = nn.init.constant_(layer.weight, -0.5)
    >>> typical_weight(layer)
    0.5
    """
    matrices, vectors = split_decayed(network)
    sizes = [float(one.detach().double().square().mean().sqrt()) for one in matrices or vectors]
    return float(torch.tensor(sizes).median()) if sizes else 1.0


class _Tuned(nn.Module):
    """A network, and what terms keep beside its weights."""

    def __init__(self, network: nn.Module, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network = network
        for name, tensor in state.items():
            self.register_buffer(name, tensor.clone())

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.network(images)
        return scores
