"""z ← project(z − η · step(∇_z [ mean_k log p_k(c | x_0'(z)) + λ R(z) ])): latents on which a class is lost.

SAGE (Liu et al., ICLR 2024, arXiv 2306.00974), failure modes 2 and 3: latents that distort the image under any
prompt, and latents that give a natural image of something else. Searches run side by side, and each leaves when it has
succeeded, is invalid, or has spent its calls. Three rivals share start, acceptance and the number of generator calls:
random latents, evolution without gradients, and back-propagation through all steps without the residual connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition
from snellen.systems.generator_failure.discriminator import Discriminator, Verdict
from snellen.systems.generator_failure.drawing import Drawing, as_image
from snellen.systems.generator_failure.normality import penalty, project

#: How the next latent is found.
Rule = Literal["residual", "backprop", "evolution", "random"]

#: Failure modes of latents, as the paper numbers them.
DISTORTED, UNRELATED = 2, 3


class LatentSearch(BaseModel):
    """Numbers of the search; none was published.

    Attributes:
        rule: residual is the method; the others are its rivals.
        step: ``adam`` or the sign of the gradient.
        rate: η.
        prior: λ of the penalty R; 0 leaves it out.
        projected: a likely norm after each step; mean and variance are left to the penalty.
        residual: a, the gain of the residual connection.
        last_steps: m, real steps of the sampler on the tape.
        calls: most generator calls of a search, trajectories and acceptance together.
        persists: share of held-out prompts on which a failure of mode 2 persists.
        held_out: most held-out prompts, a fixed random sample of those of the other classes.
        mutation: of evolution: share of new noise, so that the latent stays one of the prior.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Rule = "residual"
    step: Literal["adam", "sign"] = "adam"
    rate: float = Field(0.05, gt=0)
    prior: float = Field(100.0, ge=0)
    projected: bool = True
    residual: float = Field(1.0, ge=0)
    last_steps: int = Field(1, ge=0)
    calls: int = Field(100, ge=1)
    persists: float = Field(0.8, gt=0, le=1)
    held_out: int = Field(8, ge=1)
    mutation: float = Field(0.3, gt=0, le=1)


@dataclass(frozen=True, eq=False)
class Prompts:
    """What a latent is searched with, and what confirms it.

    Attributes:
        name: the class.
        searched: prompts of the class.
        held_out: prompts that no search uses, with the class that each names.
    """

    name: str
    searched: tuple[str, ...]
    held_out: tuple[tuple[str, str], ...] = ()


@dataclass(eq=False)
class LatentFind:
    """What became of one search.

    Attributes:
        start: (c, h, w), a draw of the prior.
        latent: the last one, (c, h, w): of a success, the one that fails.
        calls: of the generator that the search took.
        mode: 2 or 3; None without a success.
        invalid: the generator gave numbers that are not finite, and the search ended without a verdict.
        images: of the unmodified sampler under the searched prompts, float32 (p, 3, H, W); None without a success.
        verdict: of these.
        persists: share of held-out prompts on which it fails; None where that was not drawn.
        reason: why nothing was searched; empty where something was.
        best: lowest loss, for evolution.
    """

    start: Tensor
    latent: Tensor
    calls: int = 0
    mode: int | None = None
    invalid: bool = False
    images: Tensor | None = None
    verdict: Verdict | None = None
    persists: float | None = None
    reason: str = ""
    best: float = field(default=float("inf"), repr=False)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.mode is not None or self.invalid


def search_latents(
    drawing: Drawing,
    discriminator: Discriminator,
    prompts: Prompts,
    numbers: LatentSearch,
    rng: Randomness,
) -> list[LatentFind]:
    """One search for each example that the randomness is bound to.

    Args:
        drawing: the generator.
        discriminator: decides.
        prompts: of one class.
        numbers: of the search.
        rng: bound to the searches; starts depend on it alone, so that rivals begin at the same latents.
    """
    starts = rng.normal("start", drawing.shape).to(drawing.generator.device)
    finds = [LatentFind(one, one.clone()) for one in starts]
    each = len(prompts.searched)
    # What a success costs is kept back, so that no search ends with a suspect that it cannot afford to accept.
    kept_back = each + len(prompts.held_out)
    most = numbers.calls - kept_back
    if each > most:
        for find in finds:
            find.reason = (
                f"{numbers.calls} calls are too few: a look under {each} prompts and its acceptance, with "
                f"{len(prompts.held_out)} held-out prompts, take {each + kept_back}"
            )
    moments = torch.zeros_like(starts), torch.zeros_like(starts)
    latents, turn = starts.clone(), 0
    while rows := [row for row, one in enumerate(finds) if not one.over and one.calls + each <= most]:
        part = latents[rows]
        if numbers.rule in ("residual", "backprop"):
            loss, gradient, suspects = _gradient(drawing, discriminator, prompts, numbers, part, rng.child(turn))
        else:
            loss, suspects = _looked_at(drawing, discriminator, prompts, part)
            gradient = torch.zeros_like(part)
        for place, row in enumerate(rows):
            find = finds[row]
            find.calls += each
            if not bool(torch.isfinite(loss[place])):
                find.invalid = True
                continue
            if numbers.rule != "evolution" or float(loss[place]) < find.best:
                find.latent, find.best = part[place].clone(), float(loss[place])
            if bool(suspects[place]):
                _accept(drawing, discriminator, prompts, numbers, part[place], find, numbers.calls)
        turn += 1
        left = [place for place, row in enumerate(rows) if not finds[row].over]
        if left:
            kept = [rows[place] for place in left]
            latents[kept] = _next(
                numbers, part[left], gradient[left], moments, kept, turn, rng[kept], [finds[row] for row in kept]
            )
    return finds


def gradient_norms(
    drawing: Drawing, discriminator: Discriminator, prompts: Prompts, latents: Tensor, rng: Randomness
) -> dict[str, Tensor]:
    """Norm of the gradient of each latent (n, c, h, w), with the residual connection and without it: (n,) each.

    ``residual``: a = 1 and one real step. ``backprop``: all steps, whose memory grows with their number.
    """
    found = {}
    for rule in ("residual", "backprop"):
        numbers = LatentSearch(rule=rule, prior=0.0)
        _, gradient, _ = _gradient(drawing, discriminator, prompts, numbers, latents, rng)
        found[rule] = gradient.flatten(1).norm(dim=1).cpu()
    return found


def _gradient(
    drawing: Drawing,
    discriminator: Discriminator,
    prompts: Prompts,
    numbers: LatentSearch,
    latents: Tensor,
    rng: Randomness,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss (n,), its gradient (n, c, h, w), and on which latents the surrogate fails under every prompt, (n,)."""
    steps = drawing.sampler.new_solver().steps
    last = steps if numbers.rule == "backprop" else min(numbers.last_steps, steps)
    losses, gradients, suspects = [], [], []
    # Latents are taken together as memory allows; each goes under all prompts.
    for part in latents.split(max(drawing.together // len(prompts.searched), 1)):
        z = part.detach().requires_grad_(True)
        with torch.enable_grad():
            wide, condition = _under(drawing, prompts.searched, z)
            made = drawing.surrogate(wide, condition, residual=numbers.residual, last_steps=last)
            finite = torch.isfinite(made).flatten(1).all(1)
            images = as_image(torch.where(finite.view(-1, 1, 1, 1), made, torch.zeros_like(made)))
            lost = discriminator.loss(images, prompts.name, rng).view(-1, len(part)).mean(0)
            whole = lost + numbers.prior * penalty(z).to(lost) if numbers.prior else lost
            (gradient,) = torch.autograd.grad(whole.sum(), z)
        usable = finite.view(-1, len(part)).all(0).to(lost.device)
        losses.append(torch.where(usable, lost.detach(), torch.full_like(lost, float("nan"))))
        gradients.append(torch.nan_to_num(gradient))
        verdict = discriminator.verdict(made.detach(), prompts.name)
        suspects.append(verdict.failed.view(-1, len(part)).all(0))
    return torch.cat(losses), torch.cat(gradients), torch.cat(suspects)


def _looked_at(
    drawing: Drawing, discriminator: Discriminator, prompts: Prompts, latents: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of the images themselves, (n,), and on which latents they fail under every prompt."""
    made = drawing.draw(*_under(drawing, prompts.searched, latents))
    verdict = discriminator.verdict(made, prompts.name)
    loss = verdict.probabilities.clamp_min(1e-12).log().mean(1).view(-1, len(latents)).mean(0)
    return loss, verdict.failed.view(-1, len(latents)).all(0)


def _under(drawing: Drawing, prompts: Sequence[str], latents: Tensor) -> tuple[Tensor, Condition]:
    """Every latent under every prompt: all latents under the first, then all under the second."""
    wide = latents.repeat(len(prompts), 1, 1, 1)
    return wide, drawing.condition([prompt for prompt in prompts for _ in latents])


def _accept(
    drawing: Drawing,
    discriminator: Discriminator,
    prompts: Prompts,
    numbers: LatentSearch,
    latent: Tensor,
    find: LatentFind,
    most: int,
) -> None:
    """Run the unmodified sampler again, this latent alone, and keep what it shows; a surrogate accepts nothing."""
    if find.calls + len(prompts.searched) + len(prompts.held_out) > most:
        return
    made = drawing.draw(*_under(drawing, prompts.searched, latent[None]))
    find.calls += len(made)
    verdict = discriminator.verdict(made, prompts.name)
    if not bool(verdict.valid.all()):
        find.invalid = True
        return
    if not bool(verdict.failed.all()):
        return
    persists = None
    if prompts.held_out:
        texts = [text for text, _ in prompts.held_out]
        others = drawing.draw(*_under(drawing, texts, latent[None]))
        find.calls += len(others)
        failed = [
            bool(discriminator.verdict(image[None], name).failed)
            for image, (_, name) in zip(others, prompts.held_out, strict=True)
        ]
        persists = sum(failed) / len(failed)
    if persists is not None and persists >= numbers.persists:
        mode = DISTORTED
    elif bool(verdict.unrelated.all()):
        mode = UNRELATED
    else:
        return
    find.mode, find.images, find.verdict, find.persists, find.latent = mode, made, verdict, persists, latent.clone()


def _next(
    numbers: LatentSearch,
    latents: Tensor,
    gradient: Tensor,
    moments: tuple[Tensor, Tensor],
    rows: Sequence[int],
    turn: int,
    rng: Randomness,
    finds: Sequence[LatentFind],
) -> Tensor:
    """The latents of the next turn, (n, c, h, w)."""
    if numbers.rule == "random":
        return rng.normal(f"random {turn}", latents.shape[1:], like=latents)
    if numbers.rule == "evolution":
        best = torch.stack([one.latent for one in finds])
        added = rng.normal(f"mutation {turn}", latents.shape[1:], like=latents)
        return (1 - numbers.mutation**2) ** 0.5 * best + numbers.mutation * added
    chosen = list(rows)
    if numbers.step == "sign":
        moved = gradient.sign()
    else:
        first, second = moments
        first[chosen] = 0.9 * first[chosen] + 0.1 * gradient
        second[chosen] = 0.999 * second[chosen] + 0.001 * gradient.square()
        moved = (first[chosen] / (1 - 0.9**turn)) / ((second[chosen] / (1 - 0.999**turn)).sqrt() + 1e-12)
    after = latents - numbers.rate * moved
    return project(after) if numbers.projected else after
