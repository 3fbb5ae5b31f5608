"""A weaker denoiser of the same kind, for autoguidance: half as wide, and trained for few steps.

Karras et al., *Guiding a Diffusion Model with a Bad Version of Itself*, NeurIPS 2024: the reference shall err as the
model does, but more; less capacity and less training, on the same data, make such a one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import (
    CALLS,
    Denoiser,
    add_noise,
    squared_errors,
    stratified_timesteps,
    training_target,
)
from snellen.models.diffusion.generator import Generator
from snellen.reproduction.shared.guided_generation.seen_images import Seen
from snellen.reproduction.shared.guided_generation.setups import Setup
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Images, and share of conditions that are left out.
COUNT, EMPTY = 2560, 0.1

PLAN = TrainingPlan(
    epochs=4, batch_size=32, drop_last=True, learning_rate=2e-3, second_momentum=0.99, schedule="cosine",
    warmup_steps=30, ema_decay=0.98, clip_norm=1.0,
)  # fmt: skip

#: Images that are encoded together.
_TOGETHER = 256

_kept: dict[tuple[str, int, int, str], Denoiser] = {}


def weak_denoiser(
    setup: Setup, rng: Randomness, *, count: int = COUNT, plan: TrainingPlan = PLAN, progress: Progress | None = None
) -> Denoiser:
    """Train a weak denoiser for a world's generator; trained once in a process for each seed.

    Args:
        setup: the world.
        rng: of images, initial weights and training.
        count: images of its training split.
        plan: of the training.
        progress: callback that receives progress updates.

    Raises:
        InputError: the training images are not installed.
    """
    seed = derive_seed(rng.seed, *rng.path, "weak denoiser") % 2**31
    key = setup.name, seed, count, plan.model_dump_json()
    if key not in _kept:
        _kept[key] = trained_denoiser(
            setup.generator,
            setup.seen(count, seed),
            network=narrower(setup.generator.denoiser, seed),
            empty=EMPTY,
            plan=plan.model_copy(update={"seed": seed}),
            progress=progress,
        )
    return _kept[key]


def narrower(denoiser: Denoiser, seed: int) -> nn.Module:
    """A network of the same class with half the channels at each level and new weights."""
    network: Any = denoiser.network
    config = {name: value for name, value in network.config.items() if not name.startswith("_")}
    config["block_out_channels"] = [channels // 2 for channels in config["block_out_channels"]]
    with seeded(seed, torch.device("cpu")):
        made: nn.Module = type(network)(**config)
    return made


@dataclass(frozen=True, eq=False)
class Denoising:
    """The objective: what the generator's own network was trained on, with some conditions left out.

    Args:
        denoiser: says what is predicted, and at which levels of noise.
        conditions: a row for each example, and a last one that says nothing.
        empty: share of conditions that are left out, in [0, 1].
    """

    denoiser: Denoiser
    conditions: Condition
    empty: float = EMPTY

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (n,)."""
        alphas = self.denoiser.alphas_cumprod
        rows = batch.positions.clone()
        rows[batch.rng.uniform("empty", (1,))[:, 0] < self.empty] = len(self.conditions) - 1
        timesteps = stratified_timesteps(len(rows), len(alphas), torch.rand(()))
        noise = batch.rng.normal("noise", batch.images.shape[1:])
        noisy = add_noise(batch.images, noise, alphas, timesteps)
        target = training_target(self.denoiser.prediction, batch.images, noise, alphas, timesteps)
        call = CALLS[type(self.denoiser.network).__name__]
        return squared_errors(call(model, noisy, timesteps, self.conditions.select(rows)), target)


def trained_denoiser(
    generator: Generator, seen: Seen, *, network: nn.Module, empty: float, plan: TrainingPlan, progress: Progress | None
) -> Denoiser:
    """Train a network as the denoiser of a generator.

    Args:
        generator: whose latents, conditions and noise schedule.
        seen: images to train on.
        network: that training starts from; stays as it is.
        empty: share of conditions that are left out.
        plan: of the training, its seed included.
        progress: callback that receives progress updates.
    """
    channels = 3 if generator.vae is not None else generator.denoiser.channels
    latents = torch.cat([generator.encode(part[:, :channels]) for part in seen.images.split(_TOGETHER)])
    if seen.prompts is not None:
        given = [
            generator.encode_prompts(seen.prompts[start : start + _TOGETHER])
            for start in range(0, len(latents), _TOGETHER)
        ]
    else:
        given = [generator.encode_classes(seen.classes.tolist())]
    objective = Denoising(generator.denoiser, Condition.concatenate([*given, generator.null(1)]), empty)
    learning = copy.deepcopy(network).requires_grad_(True)
    examples = ImageStore.of_tensors(latents, seen.classes, split="train")
    trained = train(learning, examples, plan=plan, objective=objective, progress=progress)
    learning.load_state_dict(trained.weights)
    return replace(generator.denoiser, network=learning.eval().requires_grad_(False))
