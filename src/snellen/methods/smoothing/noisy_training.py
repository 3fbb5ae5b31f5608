"""The frame of recipes for classifiers that are meant to be smoothed: they differ in the loss of noisy copies."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.methods.smoothing.branches import (
    HALVES,
    Branch,
    NoiseRecord,
    SmoothedNetwork,
    View,
    architecture,
    check_even,
)
from snellen.methods.smoothing.votes import soft_noise, soft_votes
from snellen.training.batches import Batch, Examples
from snellen.training.evaluation import Evaluate
from snellen.training.fitting.frame import Fitting
from snellen.training.fitting.groundwork import Groundwork, initial_network
from snellen.training.fitting.recipe import ClassifierRecipe, Course
from snellen.training.objectives import Objective, cross_entropy

#: Scores of noisy copies (n, copies, k) and targets (n,) → losses (n,).
CopiesLoss = Callable[[Tensor, Tensor], Tensor]

#: Noise of a training step.
STREAM = "look 0"

#: Noisy copies that judge a validation image, after every epoch.
_JUDGING = 4


class NoisyTraining(ClassifierRecipe):
    """Train one network on noisy images, or two on the noisy halves of them; the artifact says so.

    A base is where each network starts: an ordinary classifier, or one of whole images that was trained on noise.
    """

    sigma: float = Field(0.25, gt=0, allow_inf_nan=False, description="noise, in [0, 1] pixel units")
    split_pixels: bool = Field(False, description="two networks, each of one half of the pixels, for dual smoothing")
    view: View = Field("contrast", description="how a network is shown its half")
    grey: bool = Field(False, description="one noise for all three channels, for grey images")

    @property
    def noise(self) -> NoiseRecord:
        """The noise in the artifact's record."""
        return NoiseRecord(self.sigma, self.view if self.split_pixels else None, self.grey)

    @abstractmethod
    def objective(self) -> Objective:
        """What is minimised."""

    def ground(self, fitting: Fitting) -> Groundwork:
        """One network, or two; each starts from the base, if there is one.

        Raises:
            InputError: a base of other classes or of halves, or images of an odd height or width for halves.
        """
        plain = _unwrapped(fitting.base)
        ground = super().ground(replace(fitting, base=plain))
        if self.split_pixels:
            check_even(*ground.examples.read(torch.tensor([0]))[0].shape[2:])
        return replace(wrapped(ground, self.noise, fitting.rng, started=plain is not None), fitting=fitting)

    def course(self, fitting: Fitting) -> Course:
        """The training; the epoch is chosen by validation images under noise."""
        course = super().course(fitting)
        return replace(course, evaluate=under_noise(self.noise, Randomness(course.ground.plan.seed)))


def wrapped(ground: Groundwork, noise: NoiseRecord, rng: Randomness, *, started: bool) -> Groundwork:
    """The groundwork of a smoothed network; ``started``: each of its networks begins with the plain one's weights."""
    record = architecture(ground.architecture, noise)
    network = initial_network(record, rng)
    if started:
        assert isinstance(network, SmoothedNetwork)
        for one in network.networks:
            one.load_state_dict(ground.network.state_dict())
    return replace(ground, architecture=record, network=network)


def training_branches(model: nn.Module, noise: NoiseRecord) -> tuple[Branch, ...]:
    """The branches of a smoothed network that is being trained, wrapped or not."""

    def network(number: int) -> Callable[[Tensor], Tensor]:
        return lambda images: model(images, branch=number)

    if noise.view is None:
        return (Branch("whole", network(0), grey=noise.grey),)
    return tuple(Branch(f"half {half}", network(half), half=half, view=noise.view, grey=noise.grey) for half in HALVES)


def on_noisy_copies(
    noise: NoiseRecord,
    copies: int,
    loss: CopiesLoss,
    moved: Callable[[nn.Module, tuple[Branch, ...], Batch], Tensor] | None = None,
) -> Objective:
    """An objective that sees noisy parts alone, with fresh noise for each image, copy and step.

    Losses of halves are added. The networks share no weight, so that each is trained as it would be alone.

    Args:
        noise: what the network is trained on.
        copies: of each image.
        loss: of the copies' scores.
        moved: changes the images first, knowing that the noise will be that of :data:`STREAM`.
    """

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        branches = training_branches(model, noise)
        images = batch.images if moved is None else moved(model, branches, batch)
        total = torch.zeros(len(images), device=images.device)
        for branch in branches:
            parts = branch.part(images)
            drawn = soft_noise(branch, parts, copies, batch.rng, STREAM)
            scores = branch.scores((parts[:, None] + noise.sigma * drawn).flatten(0, 1)).float()
            total = total + loss(scores.view(len(parts), copies, -1), batch.targets)
        return total

    return objective


def copies_mean(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the copies, (n, copies, k) → (n,)."""
    return torch.stack([cross_entropy(one, targets) for one in scores.unbind(1)]).mean(0)


def under_noise(noise: NoiseRecord, rng: Randomness) -> Evaluate:
    """Figures of validation images: accuracy and −log probability of the mean of a few noisy copies of all branches."""

    @torch.no_grad()
    def evaluate(model: nn.Module, examples: Examples) -> Mapping[str, float]:
        branches = training_branches(model, noise)
        device = next(model.parameters()).device
        right, loss, weights = [], [], examples.weights.double() / examples.weights.double().sum()
        for positions in torch.arange(len(examples.ids)).split(250):
            images, targets = examples.read(positions)
            shown = (to_unit(images) if images.dtype == torch.uint8 else images).to(device)
            own = rng.for_examples([examples.ids[position] for position in positions.tolist()])
            each = [
                soft_votes(branch, shown, sigma=noise.sigma, samples=_JUDGING, rng=own, stream="val")
                for branch in branches
            ]
            votes = torch.stack(each).mean(0).cpu()
            right.append(votes.argmax(1) == targets)
            loss.append(-votes.gather(1, targets[:, None])[:, 0].clamp_min(1e-20).log())
        return {
            "accuracy": float((weights * torch.cat(right)).sum()),
            "loss": float((weights * torch.cat(loss).double()).sum()),
        }

    return evaluate


def _unwrapped(base: Artifact | None) -> Artifact | None:
    """A base as an ordinary classifier: of one that was trained on noise, its network.

    Raises:
        InputError: a base of halves, which has two.
    """
    if base is None or base.card.architecture.get("name") != "smoothed":
        return base
    if base.card.architecture.get("view") is not None:
        raise InputError(
            f"the base {base.card.name!r} has a network for each half of the image; expected an ordinary classifier, "
            f"or one of whole images that was trained on noise"
        )
    inner: dict[str, Any] = dict(base.card.architecture["network"])
    prefix = "networks.0."
    tensors = {name.removeprefix(prefix): tensor for name, tensor in base.tensors.items()}
    return Artifact(tensors, base.card.model_copy(update={"architecture": inner}))
