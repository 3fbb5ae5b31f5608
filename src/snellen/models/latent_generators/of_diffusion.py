"""A diffusion model as a latent generator: the latent is the first noise, the generator a few deterministic steps.

With DDIM without noise the image is a differentiable function of the first noise (Song, Meng and Ermon 2021), as in
diffusion autoencoders, where 5 steps serve for training and 100 for sampling (Preechakul et al. 2022, as used by Wu et
al. 2022, arXiv 2209.06970). Gradients go through all steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.models.diffusion.step_view import Calls
from snellen.models.latent_generators.latent_generator import LatentGenerator


class FewSteps(nn.Module):
    """First noise, flat (n, c · h · w) → images (n, 3, h, w) in [0, 1].

    Args:
        generator: a diffusion model.
        steps: of DDIM without noise.
        condition: one row, which all images share.
    """

    def __init__(self, generator: Generator, steps: int, condition: Condition) -> None:
        super().__init__()
        self.sampler, self.condition = Sampler(generator, steps=steps), condition
        self.networks = nn.ModuleDict(generator.modules())
        self.shape = generator.latent_shape()

    def forward(self, latents: Tensor) -> Tensor:
        """Sample. With gradients on, a step is computed again on the way back, so that memory is that of one step."""
        count, generator = len(latents), self.sampler.generator
        solver = self.sampler.new_solver()
        solver.begin(0)
        stored = solver.from_noise(latents.float().unflatten(1, self.shape))
        condition, rng = self.condition.select([0] * count), seeded(range(count))

        def step(before: Tensor, index: int) -> Tensor:
            view = self.sampler.view(condition, solver, before, index, rng, Calls())
            return solver.step(view.prediction, index, before, rng)

        for index in range(solver.steps):
            if torch.is_grad_enabled() and stored.requires_grad:
                stored = checkpoint(step, stored, index, use_reentrant=False)
            else:
                stored = step(stored, index)
        images = generator.decode(solver.external(stored, solver.steps), clamp=False)
        return images.expand(-1, 3, -1, -1)


def first_noise(
    generator: Generator,
    *,
    steps: int = 5,
    prompt: str | None = None,
    class_index: int | None = None,
    name: str | None = None,
) -> LatentGenerator:
    """A diffusion model as a latent generator.

    Args:
        generator: takes prompts, classes or nothing.
        steps: of DDIM without noise; published: 5 for training.
        prompt: that all images share; of a generator of prompts, None is the empty one.
        class_index: that all images share, of a generator of classes; None is none.
        name: the reference by which it is found again.

    Raises:
        InputError: a condition that the generator does not take, or image variations, which need pictures.
    """
    if generator.takes == "images":
        raise InputError(f"{generator.name} varies pictures, and has no latents of its own; name another generator")
    if (prompt is not None and generator.takes != "prompts") or (
        class_index is not None and generator.takes != "classes"
    ):
        raise InputError(f"{generator.name} takes {generator.takes}; leave out the other condition")
    if prompt is not None:
        condition = generator.encode_prompts([prompt])
    elif class_index is not None:
        condition = generator.encode_classes([class_index])
    else:
        condition = generator.null(1)
    few = FewSteps(generator, steps, condition)
    hashed = {
        f"{part}.{key}": value for part, one in generator.modules().items() for key, value in one.state_dict().items()
    }
    return LatentGenerator(
        few,
        math.prod(few.shape),
        name=name or f"{generator.name}, {steps} steps",
        device=generator.device,
        identity=f"{hash_tensors(hashed)}:{steps}:{prompt}:{class_index}",
    )
