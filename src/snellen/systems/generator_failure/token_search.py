"""min_{e*} −mean_k log p_k(target | G(z, [p; e*])): one embedding behind any prompt that makes it show another class.

SAGE (Liu et al., ICLR 2024, arXiv 2306.00974), failure mode 4. The embedding has a norm between the least and the
largest of the vocabulary. Prompts and latents that measure it took no part in its search, and a two-tower model says
how much less the images match their prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.generation.teachers import as_prepared
from snellen.models.diffusion.learned_tokens import knowing
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.dual_encoders.zero_shot import zero_shot_classifier
from snellen.systems.generator_failure.discriminator import Discriminator
from snellen.systems.generator_failure.drawing import Drawing, as_image

#: Failure mode of tokens, as the paper numbers it.
TOKEN_MODE = 4

#: Fewest iterations that are a search.
LEAST_ITERATIONS = 5

#: How the token is spelled.
TOKEN = "<failure>"  # noqa: S105 - a word of a prompt


class TokenSearch(BaseModel):
    """Numbers of the search; none was published.

    Attributes:
        iterations: at most; 0 measures a random token.
        batch: pairs of prompt and latent of an iteration.
        rate: η of Adam, as a share of the median norm of the vocabulary.
        taped: steps of the sampler on the tape.
        calls: most generator calls, those of the measurement included.
        held_out: most held-out prompts.
        measured: held-out latents of each held-out prompt.
        share: of held-out images that must show the target for a success.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: int = Field(60, ge=0)
    batch: int = Field(4, ge=1)
    rate: float = Field(0.3, gt=0)
    taped: int = Field(8, ge=1)
    calls: int = Field(400, ge=1)
    held_out: int = Field(8, ge=1)
    measured: int = Field(4, ge=1)
    share: float = Field(0.5, gt=0, le=1)

    def measuring(self, held_out: int) -> int:
        """Calls that measure a token on so many held-out prompts, with it and without."""
        return 2 * self.measured * held_out

    def check_calls(self, held_out: int) -> None:
        """Make sure that the calls are enough for a search that is measured on so many held-out prompts.

        Raises:
            InputError: they are not.
        """
        iterations = min(self.iterations, LEAST_ITERATIONS)
        least = self.measuring(held_out) + iterations * self.batch
        if self.calls < least:
            raise InputError(
                f"{self.calls} calls are too few for a token: {self.measuring(held_out)} measure it on {held_out} "
                f"held-out prompts and {iterations} iterations of {self.batch} images search it; give {least} or more"
            )


@dataclass(frozen=True, eq=False)
class TokenFind:
    """What became of a search.

    Attributes:
        vector: the embedding, float32 (d,).
        norm, norms: of it, and least and largest of the vocabulary.
        target: the class that it should show.
        prompts: held out, with the token; clean: the same without it.
        latents: held out, (n, c, h, w). images: drawn from these, (n, 3, H, W).
        rate: share of held-out images that every member sees the target in; clean_rate: the same without the token.
        similarity: mean change of the cosine of image and clean prompt; None without a two-tower model.
        calls: of the generator. mode: 4, or None without a success. invalid: most images were not finite.
    """

    vector: Tensor
    norm: float
    norms: tuple[float, float]
    target: str
    prompts: tuple[str, ...]
    clean: tuple[str, ...]
    latents: Tensor
    images: Tensor
    rate: float
    clean_rate: float
    similarity: float | None
    calls: int
    mode: int | None
    invalid: bool


def search_token(
    drawing: Drawing,
    discriminator: Discriminator,
    target: str,
    prompts: Sequence[str],
    held_out: Sequence[str],
    numbers: TokenSearch,
    rng: Randomness,
    *,
    towers: TwoTower | None = None,
) -> TokenFind:
    """Search for a token, and measure it where it was not searched.

    Args:
        drawing: a generator with one text tower.
        discriminator: decides.
        target: class that the images should show.
        prompts: of other classes, for the search.
        held_out: others, for the measurement.
        numbers: of the search.
        rng: not bound.
        towers: text–image model, for the change of similarity.

    Raises:
        InputError: a prompt that is in both lists, no prompt, too few calls, or a generator without one text tower.
    """
    if not prompts or not held_out or set(prompts) & set(held_out):
        raise InputError("a token is searched with some prompts and measured on others; give both, and no prompt twice")
    numbers.check_calls(len(held_out))
    generator, before = drawing.generator, drawing.calls
    if generator.text is None or generator.text.form != "one tower":
        raise InputError(
            f"a token is looked for in a generator with one text tower; {generator.name} has none or several"
        )
    table = generator.text.towers[0].network.get_input_embeddings().weight.detach().float()  # type: ignore[operator]
    norms = table.norm(dim=1)
    low, high = float(norms.min()), float(norms.max())
    start = table.mean(0) + table.std(0) * torch.randn(table.shape[1], generator=rng.generator("start")).to(table)
    rate = numbers.rate * float(norms.median()) / table.shape[1] ** 0.5
    spent_later = numbers.measuring(len(held_out))
    with knowing(generator, {TOKEN: _held(start, low, high)}) as rows:
        optimizer = torch.optim.Adam([rows], lr=rate)
        for turn in range(numbers.iterations):
            if drawing.calls - before + numbers.batch + spent_later > numbers.calls:
                break
            own = rng.child(turn)
            picked = torch.randint(len(prompts), (numbers.batch,), generator=own.generator("prompts")).tolist()
            texts = [f"{prompts[row]} {TOKEN}" for row in picked]
            with torch.enable_grad():
                condition = generator.encode_prompts(texts, gradients=True)
                made = drawing.conditioned(_latents(drawing, own, numbers.batch), condition, taped=numbers.taped)
                loss = -discriminator.loss(as_image(torch.nan_to_num(made)), target, own).mean()
                optimizer.zero_grad()
                loss.backward()
            if rows.grad is None or not bool(torch.isfinite(rows.grad).all()):
                continue
            optimizer.step()
            with torch.no_grad():
                rows[0] = _held(rows[0], low, high)
        vector = rows.detach()[0].clone()
        clean = tuple(text for text in held_out for _ in range(numbers.measured))
        latents = _latents(drawing, rng.child("held out"), len(clean))
        marked = tuple(f"{text} {TOKEN}" for text in clean)
        images = drawing.draw(latents, drawing.condition(marked))
    without = drawing.draw(latents, drawing.condition(clean))
    found, plain = shows(discriminator, images, target), shows(discriminator, without, target)
    valid = torch.isfinite(images).flatten(1).all(1)
    hit = float(found.float().mean())
    similarity = None
    if towers is not None and bool(valid.any()):
        change = _cosines(towers, images[valid], clean, valid) - _cosines(towers, without[valid], clean, valid)
        similarity = float(change.mean())
    return TokenFind(
        vector=vector,
        norm=float(vector.norm()),
        norms=(low, high),
        target=target,
        prompts=marked,
        clean=clean,
        latents=latents,
        images=images,
        rate=hit,
        clean_rate=float(plain.float().mean()),
        similarity=similarity,
        calls=drawing.calls - before,
        mode=TOKEN_MODE if hit >= numbers.share and hit > float(plain.float().mean()) else None,
        invalid=float(valid.float().mean()) < 0.5,
    )


def shows(discriminator: Discriminator, images: Tensor, name: str) -> Tensor:
    """Whether as many members as the quorum decide for a class, bool (n,); never in an image that is not finite."""
    valid = torch.isfinite(images).flatten(1).all(1)
    with torch.no_grad():
        logs = discriminator.decides(torch.nan_to_num(images).clamp(0, 1), name)
    return (logs.sum(1) >= discriminator.quorum).cpu() & valid.cpu()


def _latents(drawing: Drawing, rng: Randomness, count: int) -> Tensor:
    drawn = rng.for_examples([str(row) for row in range(count)]).normal("latents", drawing.shape)
    return drawn.to(drawing.generator.device)


def _held(vector: Tensor, low: float, high: float) -> Tensor:
    """The vector (d,) with a norm within the vocabulary's."""
    norm = vector.norm().clamp_min(1e-12)
    return vector * (norm.clamp(low, high) / norm)


def _cosines(towers: TwoTower, images: Tensor, texts: Sequence[str], valid: Tensor) -> Tensor:
    """Cosine of each image with its text, (n,)."""
    chosen = [text for text, one in zip(texts, valid.tolist(), strict=True) if one]
    # Preparation on tensors is that of classifiers.
    prepared = as_prepared(zero_shot_classifier(towers, {"text": chosen[:1], "other": chosen[-1:]}), images)
    with torch.no_grad():
        return (towers.encode_images(prepared) * towers.encode_texts(chosen)).sum(1).cpu()
