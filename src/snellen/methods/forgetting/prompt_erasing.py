"""Erasing prompts from a text-to-image model: ‖f_θ(z_t, c) − (f_o(z_t, ∅) − η (f_o(z_t, c) − f_o(z_t, ∅)))‖².

Gandikota, Materzynska, Fiotto-Kaufman and Bau, "Erasing Concepts from Diffusion Models" (ESD), ICCV 2023, arXiv
2303.07345, equation 6, on the weights of cross-attention (ESD-x). f_o is the generator as it was, c a prompt, ∅ no
prompt. The target is affine in what the network predicts, so that it holds for noise and for velocities.

z_t is a picture of the prompt that the generator as it was drew, with noise added. The published code draws it at every
step with the generator that is being changed, which costs a sampling a step. A step has several prompts, because the
weight of a single one has no effect on the sign of its gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import add_noise, squared_errors, training_target
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.guidance import classifier_free
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.training.optimizers import SignDescent

Floats = NDArray[np.float64]

#: What progress calls it.
DRAWING, ERASING, RETRAINING = "drawing pictures of the prompts", "erasing prompts", "retraining without prompts"

#: Part of the names of cross-attention weights in diffusers.
CROSS_ATTENTION = "attn2"

#: Rows that are predicted at once where nothing is trained: with guidance twice as many pictures of Stable Diffusion.
TOGETHER = 8


class Erasing(BaseModel):
    """Numbers of an erasing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(40, ge=1, description="optimizer steps")
    rate: float = Field(1e-3, gt=0, description="of a step; with signs, what a weight moves")
    optimizer: Literal["sign", "adam"] = Field("sign", description="the sign of the gradient alone, or Adam")
    batch_size: int = Field(16, ge=2, description="pictures of a step")
    negative_guidance: float = Field(1.0, ge=0, description="how far beyond 'no prompt' the target lies (η)")


def erasing_target(prompted: Tensor, unprompted: Tensor, guidance: float) -> Tensor:
    """f(∅) − η (f(c) − f(∅)), what an erased prompt should predict.

    >>> erasing_target(torch.tensor([3.0]), torch.tensor([1.0]), 1.0)
    tensor([-1.])
    """
    return unprompted - guidance * (prompted - unprompted)


def cross_attention(network: nn.Module) -> list[nn.Parameter]:
    """Weights of the cross-attention layers: of a network's reading of the prompt, and of nothing else.

    Raises:
        InputError: it has none.
    """
    found = [one for name, one in network.named_parameters() if CROSS_ATTENTION in name]
    if not found:
        raise InputError(f"a {type(network).__name__} has no cross-attention layer, and prompts are erased from these")
    return found


@dataclass(frozen=True, eq=False)
class Prompted:
    """A generator with the prompts of a table, encoded once.

    Attributes:
        generator: as it was.
        given: conditions, one for each of the n prompts.
        none: the condition that says nothing, once.
    """

    generator: Generator
    given: Condition
    none: Condition

    @classmethod
    def of(cls, generator: Generator, prompts: Sequence[str]) -> Prompted:
        """Encode prompts.

        Raises:
            InputError: a generator that takes no prompts or has no cross-attention, or a prompt that is too long.
        """
        if generator.takes != "prompts":
            raise InputError(
                f"prompts are erased from a text-to-image model, and {generator.name} takes {generator.takes}"
            )
        cross_attention(generator.denoiser.network)
        return cls(generator, generator.encode_prompts(prompts), generator.null(1))

    def __len__(self) -> int:
        return len(self.given)

    def targets(self, noisy: Tensor, timesteps: Tensor, rows: Sequence[int], guidance: float) -> Tensor:
        """:func:`erasing_target` by the generator as it was, for the prompts of some rows."""
        denoiser = self.generator.denoiser
        with torch.no_grad():
            prompted = denoiser(noisy, timesteps, self.given.select(rows))
            unprompted = denoiser(noisy, timesteps, self.none.select([0] * len(rows)))
        return erasing_target(prompted, unprompted, guidance)


def draw(
    prompted: Prompted, each: int, sampler: Sampler, guidance_scale: float, rng: Randomness, progress: Progress
) -> Tensor:
    """Latents of pictures that the generator as it was draws of each prompt, float32 (n, each, c, h, w), on the CPU.

    Raises:
        ModelError: latents that are not finite.
    """
    rows = [row for row in range(len(prompted)) for _ in range(each)]
    seeds = torch.randint(2**31, (len(rows),), generator=rng.generator("seeds")).tolist()
    found = []
    progress.begin(DRAWING, len(rows))
    for start in range(0, len(rows), TOGETHER):
        part = rows[start : start + TOGETHER]
        none = prompted.none.select([0] * len(part))
        guidance = [] if guidance_scale == 1 else [classifier_free(guidance_scale, none)]
        begun = sampler.start(seeded(seeds[start : start + TOGETHER]))
        found.append(sampler.run(begun, prompted.given.select(part), guidance=guidance).latents.cpu())
        progress.advance(DRAWING, len(part))
    progress.finish(DRAWING)
    return torch.cat(found).unflatten(0, (len(prompted), each))


@dataclass(frozen=True, eq=False)
class PromptLosses:
    """Losses of a generator on each prompt.

    Attributes:
        erasing: distance to what an erased prompt should predict, float64 (n,): high where a prompt is still there.
        denoising: distance to the noise, or velocity, of pictures of the prompt, float64 (n,): low where it is.
    """

    erasing: Floats
    denoising: Floats


@dataclass(frozen=True, eq=False)
class Probe:
    """Noisy pictures with targets: equal noise and times for all prompts and all generators that are compared.

    Attributes:
        prompted: prompts, with the generator as it was.
        noisy: z_t, (n · l, c, h, w). timesteps: t, int64 (n · l,).
        erasing, denoising: targets, (n · l, c, h, w).
    """

    prompted: Prompted
    noisy: Tensor
    timesteps: Tensor
    erasing: Tensor
    denoising: Tensor

    @classmethod
    def of(cls, prompted: Prompted, drawn: Tensor, guidance: float, rng: Randomness) -> Probe:
        """Add noise to drawn latents (n, l, c, h, w), at l times that are spread evenly."""
        denoiser, (count, each) = prompted.generator.denoiser, drawn.shape[:2]
        kept = denoiser.alphas_cumprod.cpu()
        times = ((torch.arange(each) + 0.5) / each * len(kept)).long().repeat(count)
        noise = torch.randn(drawn.shape[1:], generator=rng.generator("noise")).repeat(count, 1, 1, 1)
        clean = drawn.flatten(0, 1)
        noisy = add_noise(clean, noise, kept, times)
        parts = []
        for rows in _parts(count * each):
            own = [row // each for row in rows]
            moved = noisy[rows].to(denoiser.device), times[rows].to(denoiser.device)
            parts.append(prompted.targets(*moved, own, guidance).cpu())
        target = training_target(denoiser.prediction, clean, noise, kept, times)
        return cls(prompted, noisy, times, torch.cat(parts), target)

    def losses(self, network: nn.Module) -> PromptLosses:
        """Losses of a network on each prompt, in evaluation mode.

        Raises:
            ModelError: losses that are not finite.
        """
        denoiser = self.prompted.generator.with_denoiser(network).denoiser
        each, found = len(self.noisy) // len(self.prompted), []
        with torch.no_grad():
            for rows in _parts(len(self.noisy)):
                given = self.prompted.given.select([row // each for row in rows])
                moved = self.noisy[rows].to(denoiser.device), self.timesteps[rows].to(denoiser.device)
                made = denoiser(*moved, given).cpu()
                targets = (self.erasing[rows], self.denoising[rows])
                found.append(torch.stack([squared_errors(made, one) for one in targets]))
        values = torch.cat(found, 1).double().view(2, -1, each).mean(2).numpy()
        if not np.isfinite(values).all():
            raise ModelError("the erased generator has losses that are not finite; lower the rate of erasing")
        return PromptLosses(values[0], values[1])


def erased(
    prompted: Prompted,
    drawn: Tensor,
    weights: Floats,
    erasing: Erasing,
    rng: Randomness,
    progress: Progress | None = None,
) -> nn.Module:
    """A copy of the denoiser without some prompts: its cross-attention is trained on Σ w_i ‖…‖²; the given one stays.

    Args:
        prompted: prompts, with the generator as it was.
        drawn: latents of pictures of each prompt, (n, l, c, h, w).
        weights: w in [0, 1], (n,); 1 erases a prompt, and one of 0 is in no batch.
        erasing: numbers.
        rng: of the order of prompts, pictures, times and noise.
        progress: callback that receives progress updates.

    Raises:
        InputError: no prompt has a weight.
        ModelError: the loss is not finite.
    """
    network = copy.deepcopy(prompted.generator.denoiser.network).eval().requires_grad_(False)
    trained = cross_attention(network)
    for one in trained:
        one.requires_grad_(True)
    optimizer: torch.optim.Optimizer = (
        SignDescent(trained, erasing.rate)
        if erasing.optimizer == "sign"
        else torch.optim.Adam(trained, lr=erasing.rate)
    )
    used = np.flatnonzero(weights > 0).tolist()
    if not used:
        raise InputError("no prompt has a weight above 0, so there is nothing to erase")
    denoiser = prompted.generator.with_denoiser(network).denoiser
    listener, share = progress or Silent(), torch.from_numpy(weights).float()
    listener.begin(ERASING, erasing.steps)
    for _, batch in zip(range(erasing.steps), _batches(prompted, drawn, used, erasing.batch_size, rng), strict=False):
        targets = prompted.targets(batch.noisy, batch.timesteps, batch.rows, erasing.negative_guidance)
        errors = squared_errors(denoiser(batch.noisy, batch.timesteps, prompted.given.select(batch.rows)), targets)
        own = share[batch.rows].to(errors.device)
        _stepped(optimizer, (own * errors).sum() / own.sum(), "erasing")
        listener.advance(ERASING, 1)
    listener.finish(ERASING)
    return network.requires_grad_(False)


class Redrawing(BaseModel):
    """Numbers of a retraining."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(1000, ge=1, description="optimizer steps")
    rate: float = Field(1e-3, gt=0, description="of AdamW; it falls to 0 along a cosine")
    batch_size: int = Field(32, ge=2, description="pictures of a step")


def retrained(
    prompted: Prompted,
    drawn: Tensor,
    without: Sequence[int],
    numbers: Redrawing,
    rng: Randomness,
    progress: Progress | None = None,
) -> nn.Module:
    """A denoiser with initial weights, trained on pictures of the other prompts alone; text tower and decoder stay.

    The pictures are those that the generator as it was drew, since nobody but its maker has those that it was trained
    on.

    Args:
        prompted: prompts, with the generator as it was.
        drawn: latents of pictures of each prompt, (n, l, c, h, w).
        without: prompts that are in no batch.
        numbers: of the training.
        rng: of initial weights, order, times and noise.
        progress: callback that receives progress updates.

    Raises:
        ModelError: the loss is not finite.
    """
    old: nn.Module = prompted.generator.denoiser.network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.generator("initial weights").initial_seed() % 2**31)
        made = type(old).from_config(old.config)  # type: ignore[attr-defined]
    network: nn.Module = made.to(prompted.generator.device)
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=numbers.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, numbers.steps)
    kept = sorted(set(range(len(prompted))) - set(without))
    denoiser, listener = prompted.generator.with_denoiser(network).denoiser, progress or Silent()
    listener.begin(RETRAINING, numbers.steps)
    for _, batch in zip(range(numbers.steps), _batches(prompted, drawn, kept, numbers.batch_size, rng), strict=False):
        # A tenth of the batch says nothing, as in every training for classifier-free guidance.
        silent = len(batch.rows) // 10
        given = prompted.given.select(batch.rows[silent:])
        errors = [
            squared_errors(denoiser(batch.noisy[silent:], batch.timesteps[silent:], given), batch.target[silent:])
        ]
        if silent:
            none = prompted.none.select([0] * silent)
            part = denoiser(batch.noisy[:silent], batch.timesteps[:silent], none)
            errors.append(squared_errors(part, batch.target[:silent]))
        _stepped(optimizer, torch.cat(errors).mean(), "retraining")
        schedule.step()
        listener.advance(RETRAINING, 1)
    listener.finish(RETRAINING)
    return network.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class _Batch:
    rows: list[int]
    noisy: Tensor
    timesteps: Tensor
    target: Tensor


def _batches(prompted: Prompted, drawn: Tensor, used: Sequence[int], size: int, rng: Randomness) -> Iterator[_Batch]:
    """Batches without end: prompts in passes, each pass in a new order, with a picture, a time and noise of its own."""
    draws, denoiser = rng.generator("batches"), prompted.generator.denoiser
    kept, order = denoiser.alphas_cumprod.cpu(), list[int]()
    while True:
        while len(order) < size:
            order += [used[place] for place in torch.randperm(len(used), generator=draws).tolist()]
        rows, order = order[:size], order[size:]
        picture = torch.randint(drawn.shape[1], (size,), generator=draws)
        times = torch.randint(len(kept), (size,), generator=draws)
        clean = drawn[torch.tensor(rows), picture]
        noise = torch.randn(clean.shape, generator=draws)
        noisy = add_noise(clean, noise, kept, times)
        target = training_target(denoiser.prediction, clean, noise, kept, times)
        yield _Batch(rows, *(one.to(denoiser.device) for one in (noisy, times, target)))


def _stepped(optimizer: torch.optim.Optimizer, loss: Tensor, what: str) -> None:
    if not bool(torch.isfinite(loss)):
        raise ModelError(f"{what} diverged: its loss is not finite; lower its rate")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _parts(count: int) -> Iterator[range]:
    return (range(start, min(start + TOGETHER, count)) for start in range(0, count, TOGETHER))
