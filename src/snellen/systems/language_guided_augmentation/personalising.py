"""min_v E ‖target − f(z_t, t, τ(template(v)))‖² over the edited images of a class: stage 5 of ASPIRE.

A new token for each class is learned by textual inversion (:mod:`snellen.models.diffusion.learned_tokens`) from the
edits that stand for its shortcuts. It begins as a word that says nothing, and only its own row is trained. So what is
generated from "a photo of a <class>" shows the class as the edited images show it: without its shortcuts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.methods.generation.made_images import generator_of
from snellen.methods.synthesis.adapter_fitting import finished_folder, fit_each, planned_card, read_all
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.manifest_rows import BLANK, Source
from snellen.models.diffusion.fitting import cropped_latents, denoising_loss, tenths
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.generator_adapters import NO_ADAPTER, FittedAdapter, weights_hash
from snellen.models.diffusion.learned_tokens import TOKENS, knowing, row_of, save_tokens, token_of

#: Prompts that a token is learned from, beside the one that images are generated from; as many as published, in words
#: of our own.
TEMPLATES = (
    "a photograph of a {}", "a sharp photo of a {}", "a blurry photo of a {}", "a bright photo of a {}",
    "a dim photo of a {}", "a small photo of a {}", "a large photo of a {}", "a cropped photo of a {}",
    "a close view of a {}", "a distant view of a {}", "a view of one {}", "a photo of one {}", "a photo of the {}",
    "a picture of a {}", "a picture of the {}", "a plain picture of a {}", "a clear picture of a {}",
    "a grainy picture of a {}", "a colour photo of a {}", "a snapshot of a {}", "a snapshot of the {}",
    "an image of a {}", "an image of the {}", "an everyday photo of a {}", "an unedited photo of a {}",
    "a photo that shows a {}",
)  # fmt: skip


class TokenFit(BaseModel):
    """Numbers of learning a token; the defaults are the published ones.

    >>> TokenFit().peak
    0.002
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    word: str = Field("the", description="known word of a single token that a new one begins as")
    prompt: str = Field("a photo of a {}", description="that images are generated from")
    templates: tuple[str, ...] = Field(TEMPLATES, description="further prompts that the token is learned from")
    steps: int = Field(1000, ge=1, description="optimizer steps of each token")
    batch_size: int = Field(4, ge=1, description="images of one step")
    learning_rate: float = Field(5e-4, gt=0, description="of AdamW, for one image of a step")
    weight_decay: float = Field(1e-2, ge=0, description="of AdamW")
    guidance: float = Field(
        7.5, description="of the images that are generated from it, unless the caller sets one", allow_inf_nan=False
    )
    crops: int = Field(4, ge=1, description="random crops of each image that are encoded once, before the first step")
    trials: int = Field(8, ge=1, description="tokens of each class, with other noise; images are generated from each")

    @property
    def peak(self) -> float:
        """The learning rate, scaled by the images of a step; it is constant."""
        return self.learning_rate * self.batch_size


#: Learning of seconds for the small generator of scenes, which knows few words.
SMALL = TokenFit(
    word="a", prompt="a {}", templates=(), steps=300, batch_size=8, learning_rate=2.5e-3, weight_decay=0.0, trials=1,
    guidance=2.0,
)  # fmt: skip

#: Numbers by name, as the command takes them.
PRESETS = {"published": TokenFit(), "small": SMALL}


def personalised(
    method: ByName,
    source: Source,
    folder: Path,
    *,
    fit: TokenFit,
    plain: Sequence[str] = (),
    trial: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> ByName:
    """Learn a token for each class, and write them; what is finished in the folder is kept.

    Args:
        method: generator and steps of the images to come; a guidance that was set, and templates other than the usual
            ones, stand for those of ``fit``.
        source: classes, and the edited images of each.
        folder: for the tokens; diffusers reads the files in it.
        fit: numbers.
        plain: further classes, which get no token: they are generated from their names by the generator as it is.
        trial: number of the trial: another one is other noise under another token.
        seed: of everything random.
        progress: callback that receives progress updates.

    Returns:
        The method that generates images of each class from its token.

    Raises:
        InputError: a generator without one text tower, or images that cannot be read.
        RunConflictError: the folder holds tokens of other images or numbers.
    """
    assert source.images is not None
    generator, listener = generator_of(method.generator), progress or Silent()
    start = row_of(generator, fit.word)
    tokens = tokens_of(source.classes, trial)
    made = method.templates if method.templates != ByName().templates else (fit.prompt,)
    scale = method.guidance_scale if "guidance_scale" in method.model_fields_set else fit.guidance
    words = {**{name: word for name, word in method.words.items() if name in plain}, **tokens}
    asking = method.model_copy(update={"templates": made, "words": words, "adapter": folder, "guidance_scale": scale})
    templates = tuple(dict.fromkeys((*made, *fit.templates)))
    prompts = {name: tuple(one.replace(BLANK, token) for one in templates) for name, token in tokens.items()}
    prompts |= {name: tuple(one.replace(BLANK, words.get(name, name)) for one in made) for name in plain}
    labels = {name: [name] for name in source.classes}
    numbers = {
        # Neither changes what is learned.
        **fit.model_dump(mode="json", exclude={"trials", "guidance"}),
        "trial": trial,
        "images": source.images.fingerprint(),
    }
    base = planned_card(generator, {**labels, **({NO_ADAPTER: plain} if plain else {})}, prompts, numbers, seed)
    if finished_folder(folder, base) is not None:
        return asking
    images, classes, damaged = read_all(source)
    if damaged:
        raise InputError(
            f"{len(damaged)} edited images cannot be read, first {damaged[0]}; remove the folder of the edits, so that "
            f"they are made again"
        )

    def one(name: str, _: Sequence[str], target: Path) -> FittedAdapter:
        own = [image for image, label in zip(images, classes, strict=True) if label == name]
        rng = Randomness(seed).child("personalising", trial, name)
        return learn_token(
            generator, own, prompts[name], {tokens[name]: start}, target, fit=fit, rng=rng, progress=listener
        )

    fit_each(folder, base, labels, one)
    return asking


def tokens_of(classes: Sequence[str], trial: int = 0) -> dict[str, str]:
    """A token for each class; names that are spelled alike get the number of the class.

    >>> tokens_of(["star", "雪", "月"])
    {'star': '<star>', '雪': '<class-1>', '月': '<class-2>'}
    """
    suffix = f" {trial}" if trial else ""
    found = {name: token_of(f"{name}{suffix}") for name in classes}
    counts = Counter(found.values())
    taken = {token for token, count in counts.items() if count == 1}
    for number, (name, token) in enumerate(found.items()):
        if counts[token] > 1:
            # Cut to half, so that the number stays in what is cut; a class "st 1" keeps its own token.
            own, further = token_of(f"{token[:25]} {number}{suffix}"), 0
            while own in taken:
                further += 1
                own = token_of(f"{token[:25]} {number} {further}{suffix}")
            taken.add(own)
            found[name] = own
    return found


def learn_token(
    generator: Generator,
    images: Sequence[Tensor],
    prompts: Sequence[str],
    start: Mapping[str, Tensor],
    folder: Path,
    *,
    fit: TokenFit,
    rng: Randomness,
    progress: Progress,
) -> FittedAdapter:
    """Learn the row of one token, and write it; behind it the generator is as it was.

    Args:
        generator: with one text tower.
        images: of the class, each (3, h, w) in [0, 1], of any size.
        prompts: that hold the token; one is drawn for each image of a step.
        start: the token, and the row (d,) that it begins as.
        folder: for the file, in a folder of the text tower.
        fit: numbers.
        rng: of crops, order, prompts, times and noise.
        progress: callback that receives progress updates.

    Raises:
        ModelError: a loss that is not finite.
    """
    latents = cropped_latents(generator, images, fit.crops, rng)
    (token,), losses, total = start, list[float](), len(generator.denoiser.alphas_cumprod)
    what = f"learning {token}"
    with knowing(generator, start) as rows:
        optimizer = torch.optim.AdamW([rows], lr=fit.peak, weight_decay=fit.weight_decay)
        progress.begin(what, fit.steps)
        for step in range(fit.steps):
            draws = rng.generator(f"step {step}")
            chosen = latents[torch.randint(len(latents), (fit.batch_size,), generator=draws)]
            which = torch.randint(len(prompts), (fit.batch_size,), generator=draws).tolist()
            times = torch.randint(total, (fit.batch_size,), generator=draws).to(latents.device)
            noise = torch.randn(chosen.shape, generator=draws).to(chosen)
            loss = denoising_loss(generator, chosen, [prompts[one] for one in which], times, noise, text=True)
            losses.append(loss.item())
            if not torch.isfinite(loss):
                raise ModelError(
                    f"the loss of {what} is {losses[-1]} at step {step + 1}; a smaller learning rate helps"
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.advance(what, 1)
        progress.finish(what)
        save_tokens({token: rows.detach()[0]}, folder / "text_encoder" / TOKENS)
    return FittedAdapter(
        folder=folder.name,
        images=len(images),
        steps=fit.steps,
        losses=tenths(losses),
        sha256=weights_hash(folder),
    )
