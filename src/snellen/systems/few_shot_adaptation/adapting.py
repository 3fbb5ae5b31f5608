"""LoRA of a text-to-image model on the shots: L = E ‖target − f_{θ+ΔW}(z_t, t, τ_{+ΔW}(prompt))‖², W' = W + (α/r) B A.

Kim, Bader, Alaniz, Schmid and Akata, *DataDream*, ECCV 2024, arXiv 2407.10910. z_t are noisy latents of a shot, t is
uniform, the target is noise or velocity as the model predicts it, and the prompt names the class of the shot. A is
drawn from a normal distribution and B is zero, so a fitting starts at the generator as it is. Adapted are the attention
of the denoiser and of its text towers; all other weights stay. ``class``: one adapter for each class, fitted to its
shots alone. ``set``: one adapter for all.

Ours: a fitting ends early once generated images are copies of the shots, and keeps the weights of the last check
without too many (:mod:`snellen.methods.synthesis.nearness`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.methods.synthesis.nearness import COPY, nearness
from snellen.models.diffusion.adapter_files import save_adapter
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.fitting import denoising_loss, tenths
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.generator_adapters import NAME, FittedAdapter, weights_hash
from snellen.models.diffusion.low_rank import ATTENTION, TEXT_ATTENTION, LowRank
from snellen.models.diffusion.sampler import Sampler
from snellen.training.plan import learning_rate_factor

Variant = Literal["class", "set"]


class AdapterFit(BaseModel):
    """Numbers of a fitting; the defaults are the published ones, but for the checks for copies.

    >>> AdapterFit().steps(16), AdapterFit(most_steps=50).steps(16)
    (400, 50)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: Variant = Field("class", description="one adapter for each class, or one for the whole set")
    rank: int = Field(16, ge=1, description="of the change of each layer")
    alpha: float = Field(16.0, gt=0, description="a change is multiplied by alpha / rank")
    text: bool = Field(True, description="adapt the text towers too")
    epochs: int = Field(200, ge=1, description="passes over the shots of an adapter")
    most_steps: int | None = Field(None, ge=1, description="optimizer steps of an adapter at most")
    batch_size: int = Field(8, ge=1, description="shots of one step")
    learning_rate: float = Field(1e-4, gt=0, description="peak, of AdamW")
    warmup_steps: int = Field(100, ge=0, description="until the peak; then half a cosine")
    weight_decay: float = Field(1e-2, ge=0, description="of AdamW")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the whole gradient")
    crops: int = Field(4, ge=1, description="random crops of each shot that are encoded once, before the first step")
    check_every: int = Field(100, ge=0, description="steps between checks for copies; 0: never")
    checked: int = Field(16, ge=1, description="images that are generated for a check")
    check_steps: int = Field(20, ge=1, description="of the sampler, in a check")
    most_copies: float = Field(0.1, ge=0, le=1, description="largest share of copies of a shot among them")

    def steps(self, images: int) -> int:
        """Optimizer steps for so many shots."""
        wanted = self.epochs * -(-images // self.batch_size)
        return wanted if self.most_steps is None else min(wanted, self.most_steps)

    def low_rank(self, settings: LowRank) -> LowRank:
        """Rank and alpha on the layers of these settings."""
        return settings.model_copy(update={"rank": self.rank, "alpha": self.alpha})


#: A fitting of seconds for the small generator of scenes.
SMALL = AdapterFit(
    rank=8, alpha=8.0, batch_size=16, learning_rate=3e-3, warmup_steps=10, most_steps=300, check_every=50, checked=16,
    check_steps=12,
)  # fmt: skip

#: Fittings by name, as the command takes them.
PRESETS = {"published": AdapterFit(), "small": SMALL}


@dataclass(frozen=True, eq=False)
class Shots:
    """What one adapter is fitted to.

    Attributes:
        latents: (crops · n, c, h, w); row i shows shot i mod n.
        prompts: of each shot, n of them: one or several.
        thumbnails: of the shots whose copies stop the fitting, (m, 3, 16, 16).
        spread: the distance among the shots.
    """

    latents: Tensor
    prompts: Sequence[Sequence[str]]
    thumbnails: Tensor
    spread: float | None

    @property
    def count(self) -> int:
        """Number n of shots."""
        return len(self.prompts)


def fit_adapter(
    generator: Generator,
    shots: Shots,
    folder: Path,
    *,
    fit: AdapterFit,
    guidance_scale: float,
    rng: Randomness,
    progress: Progress,
    what: str,
) -> FittedAdapter:
    """Fit one adapter, stop before it draws copies, and write it; behind it the generator is as it was.

    Args:
        generator: that takes prompts.
        shots: of a class, or of all.
        folder: for a folder of peft for each adapted network.
        fit: numbers.
        guidance_scale: with which images will be generated, and are generated in checks.
        rng: of everything random.
        progress: callback that receives progress updates.
        what: progress and messages call it.

    Raises:
        InputError: a network without the layers that are adapted.
        ModelError: a loss that is not finite.
    """
    steps = fit.steps(shots.count)
    warmup = min(fit.warmup_steps, steps // 2)
    course = _Course()
    with ExitStack() as stack:
        parts = _fresh(generator, fit, rng, stack)
        parameters = [one for adapters in parts.values() for one in stack.enter_context(adapters.training(NAME))]
        for adapters in parts.values():
            stack.enter_context(adapters.on({NAME: 1.0}))
        optimizer = torch.optim.AdamW(parameters, lr=fit.learning_rate, weight_decay=fit.weight_decay)
        order, kept, done = list[int](), _copied(parts), 0
        progress.begin(what, steps)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = fit.learning_rate * learning_rate_factor(
                    "cosine", step, total_steps=steps, warmup_steps=warmup
                )
            draws = rng.generator(f"step {step}")
            if len(order) < min(fit.batch_size, shots.count):
                order += torch.randperm(shots.count, generator=draws).tolist()
            rows, order = order[: fit.batch_size], order[fit.batch_size :]
            loss = _step_loss(generator, shots, rows, fit, draws)
            course.losses.append(loss.item())
            if not torch.isfinite(loss):
                raise ModelError(
                    f"the loss of {what} is {course.losses[-1]} at step {step + 1}; a smaller learning rate than "
                    f"{fit.learning_rate:g} may help"
                )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, fit.clip_norm)
            optimizer.step()
            progress.advance(what, 1)
            if (step + 1) % (fit.check_every or steps) and step + 1 < steps:
                continue
            if (
                fit.check_every
                and shots.spread is not None
                and _too_near(generator, shots, fit, guidance_scale, step + 1, rng, course)
            ):
                course.stopped = True
                break
            kept, done = _copied(parts), step + 1
        progress.finish(what)
        with torch.no_grad():
            for part, adapters in parts.items():
                for name, tensor in adapters.tensors(NAME).items():
                    tensor.copy_(kept[part][name])
                save_adapter(adapters, NAME, folder / part)
    return FittedAdapter(
        folder=folder.name,
        images=shots.count,
        steps=done,
        stopped=course.stopped,
        losses=tenths(course.losses),
        nearness=tuple(course.nearness),
        copies=tuple(course.copies),
        sha256=weights_hash(folder),
    )


@dataclass
class _Course:
    """What is recorded while an adapter is fitted."""

    losses: list[float] = field(default_factory=list)
    nearness: list[tuple[int, float]] = field(default_factory=list)
    copies: list[tuple[int, float]] = field(default_factory=list)
    stopped: bool = False


def _fresh(generator: Generator, fit: AdapterFit, rng: Randomness, stack: ExitStack) -> dict[str, Adapters]:
    """New adapters in the networks, by the names of these; they are taken out when the stack is closed."""
    found = {}
    for part, network in generator.modules().items():
        if part == "vae" or (part != "denoiser" and not fit.text):
            continue
        adapters = Adapters(network)
        settings = fit.low_rank(ATTENTION if part == "denoiser" else TEXT_ATTENTION)
        try:
            adapters.add(NAME, settings, rng=rng.child("start", part))
        except InputError as error:
            hint = "" if part == "denoiser" else "; leave the text towers as they are: --no-text"
            raise InputError(f"{generator.name}: its {part} cannot be adapted: {error}{hint}") from error
        stack.callback(adapters.unload)
        found[part] = adapters
    return found


def _step_loss(
    generator: Generator, shots: Shots, rows: Sequence[int], fit: AdapterFit, draws: torch.Generator
) -> Tensor:
    """The loss of one batch, of random crops, prompts, times and noise."""
    crops = torch.randint(fit.crops, (len(rows),), generator=draws).tolist()
    latents = shots.latents[[crop * shots.count + row for crop, row in zip(crops, rows, strict=True)]]
    which = torch.randint(2**31, (len(rows),), generator=draws).tolist()
    prompts = [shots.prompts[row][one % len(shots.prompts[row])] for row, one in zip(rows, which, strict=True)]
    total = len(generator.denoiser.alphas_cumprod)
    times = torch.randint(total, (len(rows),), generator=draws).to(latents.device)
    noise = torch.randn(latents.shape, generator=draws).to(latents)
    return denoising_loss(generator, latents, prompts, times, noise, text=fit.text)


def _too_near(
    generator: Generator,
    shots: Shots,
    fit: AdapterFit,
    guidance_scale: float,
    step: int,
    rng: Randomness,
    course: _Course,
) -> bool:
    """Generate some images as they would be for the set, and say whether too many are copies of a shot."""
    assert shots.spread is not None
    seeds = [derive_seed(rng.seed, "check", number) % 2**31 for number in range(fit.checked)]
    prompts = [shots.prompts[number % shots.count][0] for number in range(fit.checked)]
    with torch.no_grad():
        made = generate(
            Sampler(generator, steps=fit.check_steps), seeds, prompts=prompts, guidance_scale=guidance_scale
        )
    found = nearness(made.images, shots.thumbnails, shots.spread)
    share = float((found < COPY).double().mean())
    course.nearness.append((step, round(float(found.median()), 4)))
    course.copies.append((step, round(share, 4)))
    return share > fit.most_copies


def _copied(parts: Mapping[str, Adapters]) -> dict[str, dict[str, Tensor]]:
    return {
        part: {name: tensor.clone() for name, tensor in adapters.tensors(NAME).items()}
        for part, adapters in parts.items()
    }
