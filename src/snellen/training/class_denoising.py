"""Training of a denoiser of classes or prompts: E ‖target − f(x_t, t, y)‖², y left out at times (Ho and Salimans 2022).

It sees images and what they are called, and nothing else of them: whether a set was tampered with is no argument.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
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


class _ClassCall(nn.Module):
    """A UNet of diffusers as one call: noisy images (n, c, h, w), times (n,), classes (n,) → prediction."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, timesteps: Tensor, names: Tensor) -> Tensor:
        predicted: Tensor = self.network(images, timesteps, class_labels=names).sample
        return predicted


class _PromptCall(nn.Module):
    """The same of a UNet that reads text; ``states`` (k, l, d) are those of the k prompts, the last one empty."""

    states: Tensor

    def __init__(self, network: nn.Module, states: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("states", states, persistent=False)

    def forward(self, images: Tensor, timesteps: Tensor, names: Tensor) -> Tensor:
        predicted: Tensor = self.network(images, timesteps, encoder_hidden_states=self.states[names]).sample
        return predicted


class NamedDenoising:
    """The objective: what a network predicts of noisy images and what they are called.

    Args:
        alphas_cumprod: ᾱ, float32 (times,).
        none: the name that stands for "nothing".
        prediction: what is predicted.
        empty: share of names that are replaced by ``none``.
        pixels: images are in [0, 1] and not latents.
    """

    def __init__(
        self,
        alphas_cumprod: Tensor,
        none: int,
        *,
        prediction: Prediction = "v_prediction",
        empty: float = EMPTY,
        pixels: bool = True,
    ) -> None:
        self.alphas, self.none, self.prediction, self.empty, self.pixels = (
            alphas_cumprod, none, prediction, empty, pixels
        )  # fmt: skip

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (n,)."""
        names = batch.targets.clone()
        names[batch.rng.uniform("empty", (1,))[:, 0].to(names.device) < self.empty] = self.none
        clean = batch.images * 2 - 1 if self.pixels else batch.images
        timesteps = stratified_timesteps(len(clean), len(self.alphas), torch.rand(())).to(clean.device)
        noise = batch.rng.normal("noise", clean.shape[1:], like=clean)
        noisy = add_noise(clean, noise, self.alphas, timesteps)
        target = training_target(self.prediction, clean, noise, self.alphas, timesteps)
        return squared_errors(model(noisy, timesteps, names), target)


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
    objective = NamedDenoising(
        generator.denoiser.alphas_cumprod, generator.null_class, prediction=generator.denoiser.prediction, empty=empty
    )
    return _fitted(generator, _ClassCall(_trainable(generator)), store, plan, objective, progress)


def fit_prompt_generator(
    generator: Generator,
    store: ImageStore,
    prompts: Sequence[str],
    *,
    plan: TrainingPlan,
    empty: float = EMPTY,
    progress: Progress | None = None,
) -> Generator:
    """Train the UNet of a generator of prompts further, its text tower frozen; the given one stays as it is.

    Args:
        generator: Stable Diffusion 1 or 2, or another one whose UNet reads the states of one text tower.
        store: *latents*, as :meth:`Generator.encode` gives them, float (n, c, h, w); the targets say which prompt.
        prompts: k of them, one for each target.
        plan: all numbers.
        empty: share of prompts that are replaced by the empty one.
        progress: callback that receives progress updates.

    Raises:
        InputError: another generator, or targets out of range.
    """
    if generator.takes != "prompts" or generator.sized:
        raise InputError(f"{generator.name} is not a generator of prompts with one text tower")
    if int(store.targets.min()) < 0 or int(store.targets.max()) >= len(prompts):
        raise InputError(f"targets are 0 to {len(prompts) - 1}, one for each prompt; got {int(store.targets.max())}")
    states = generator.encode_prompts([*prompts, ""]).text
    assert states is not None
    objective = NamedDenoising(
        generator.denoiser.alphas_cumprod,
        len(prompts),
        prediction=generator.denoiser.prediction,
        empty=empty,
        pixels=False,
    )
    return _fitted(generator, _PromptCall(_trainable(generator), states), store, plan, objective, progress)


def _trainable(generator: Generator) -> nn.Module:
    return copy.deepcopy(generator.denoiser.network).requires_grad_(True)


def _fitted(
    generator: Generator,
    call: _ClassCall | _PromptCall,
    store: ImageStore,
    plan: TrainingPlan,
    objective: NamedDenoising,
    progress: Progress | None,
) -> Generator:
    trained = train(call, store, plan=plan, objective=objective, progress=progress)
    call.load_state_dict(dict(trained.weights))
    return generator.with_denoiser(call.network.eval().requires_grad_(False))
