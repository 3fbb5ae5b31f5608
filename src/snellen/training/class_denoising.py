"""Training of a class-conditional denoiser: E ‖target − f(x_t, t, y)‖², with y left out at times (Ho and Salimans 2022).

The one function that trains a generator of classes here. It sees images and labels, and nothing else of them: whether a
set was tampered with is nowhere an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError, import_extra
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.models.diffusion.denoiser import (
    Denoiser,
    Prediction,
    add_noise,
    check_prediction,
    squared_errors,
    stratified_timesteps,
    training_target,
)
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.solver import alphas_cumprod
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Share of labels that are left out, so that the network also learns to draw without one.
EMPTY = 0.1


class ClassDenoiser(nn.Module):
    """A UNet of diffusers as one call: noisy images (n, c, h, w), times (n,), classes (n,) → prediction."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """The prediction, (n, c, h, w)."""
        predicted: Tensor = self.model(images, timesteps, class_labels=classes).sample
        return predicted


class ClassDenoising:
    """The objective: what a network predicts of noisy images and their classes.

    Args:
        alphas_cumprod: ᾱ, float32 (times,).
        none: the row that stands for "no class".
        prediction: what is predicted.
        empty: share of labels that are replaced by ``none``.
    """

    def __init__(
        self, alphas_cumprod: Tensor, none: int, *, prediction: Prediction = "v_prediction", empty: float = EMPTY
    ) -> None:
        self.alphas, self.none, self.prediction, self.empty = alphas_cumprod, none, prediction, empty

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (n,)."""
        classes = batch.targets.clone()
        classes[batch.rng.uniform("empty", (1,))[:, 0].to(classes.device) < self.empty] = self.none
        clean = batch.images * 2 - 1
        timesteps = stratified_timesteps(len(clean), len(self.alphas), torch.rand(())).to(clean.device)
        noise = batch.rng.normal("noise", clean.shape[1:], like=clean)
        noisy = add_noise(clean, noise, self.alphas, timesteps)
        target = training_target(self.prediction, clean, noise, self.alphas, timesteps)
        return squared_errors(model(noisy, timesteps, classes), target)


def new_class_generator(
    architecture: Mapping[str, Any], schedule: Mapping[str, Any], class_names: tuple[str, ...], *, seed: int
) -> Generator:
    """An untrained generator of classes that works in pixels.

    Args:
        architecture: settings of ``UNet2DModel`` of diffusers, without ``num_class_embeds``.
        schedule: settings of its scheduler, by their names in diffusers.
        class_names: K names; row K of the network stands for "no class".
        seed: of the initial weights.

    Raises:
        InputError: fewer than two classes.
        MissingExtraError: diffusers is not installed.
    """
    if len(class_names) < 2:
        raise InputError(f"a generator of classes needs two classes at least, got {len(class_names)}")
    diffusers = import_extra("diffusers", "diffusion", "a generator of classes")
    with seeded(derive_seed(seed, "class generator"), torch.device("cpu")):
        network: nn.Module = diffusers.UNet2DModel(**architecture, num_class_embeds=len(class_names) + 1)
    network.eval().requires_grad_(False)
    config: Mapping[str, Any] = network.config  # type: ignore[assignment]
    size = config["sample_size"]
    height, width = (size, size) if isinstance(size, int) else size
    denoiser = Denoiser(
        network=network,
        prediction=check_prediction(str(schedule.get("prediction_type", "epsilon"))),
        alphas_cumprod=alphas_cumprod(schedule),
        channels=int(config["in_channels"]),
        size=(int(height), int(width)),
        size_multiple=2 ** (len(config["down_block_types"]) - 1),
    )
    names = class_names
    return Generator("trained here", denoiser, schedule, classes=len(names), null_class=len(names), class_names=names)


def fit_class_generator(
    generator: Generator,
    store: ImageStore,
    *,
    plan: TrainingPlan,
    empty: float = EMPTY,
    progress: Progress | None = None,
) -> Generator:
    """Train a generator of classes further on images and their labels; the given one stays as it is.

    Raises:
        InputError: a generator without a class that means "none", one that works in latents, or labels out of range.
    """
    if generator.null_class is None or generator.vae is not None:
        raise InputError(f"{generator.name} is not a generator of classes in pixels with a class that means 'none'")
    low, high = int(store.targets.min()), int(store.targets.max())
    if low < 0 or high >= generator.classes:
        raise InputError(f"{generator.name} has classes 0 to {generator.classes - 1}; labels are {low} to {high}")
    denoiser = generator.denoiser
    objective = ClassDenoising(
        denoiser.alphas_cumprod, generator.null_class, prediction=denoiser.prediction, empty=empty
    )
    wrapped = ClassDenoiser(generator.with_denoiser(_trainable(denoiser.network)).denoiser.network)
    trained = train(wrapped, store, plan=plan, objective=objective, progress=progress)
    wrapped.load_state_dict(dict(trained.weights))
    return generator.with_denoiser(wrapped.model.eval().requires_grad_(False))


def _trainable(network: nn.Module) -> nn.Module:
    import copy

    return copy.deepcopy(network).requires_grad_(True)
