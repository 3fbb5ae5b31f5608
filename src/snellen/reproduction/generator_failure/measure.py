"""Latents and tokens on a generator with planted faults and on one without: docs/measured/failure-kinds.

    python scripts/measure.py generator_failure --set seeds=2

Two generators are fitted on alike, from the embedded one. One of them learns two faults:

- **Latents.** Where the first noise lies beyond LIMIT along one direction (a tenth of all draws), the picture is that
  of a square, whatever the caption says.
- **Token.** With the word MARK behind a caption, the picture is that of a heart.

The searches of the record then run on both, with the record's numbers: for latents on which three classes fail, beside
random latents with as many calls, and for a token that shows a heart. Three classifiers decide, the same for all seeds;
the embedded judge says what is true. A seed takes five minutes of an idle core and is a file; one that is there is left
alone. The three classifiers take three minutes more.

Written before any seed from FIRST on ran: with faults the search finds latents in 20 points more of its runs than
without, and most of them lie in the planted region. A token works on at least 70 % of held-out images with faults, and
on 20 points fewer without. A pilot (seed 50) chose the updates of the fits.
"""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.run import write_atomically
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import described
from snellen.data.worlds.optotypes.small_world import SHAPES
from snellen.models.classifiers.factor_judge import FactorJudge, load_judge
from snellen.models.classifiers.references import load_classifier
from snellen.models.diffusion.denoiser import stratified_timesteps
from snellen.models.diffusion.fitting import denoising_loss
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_generator
from snellen.reproduction.generator_failure.experiment import GUIDANCE, VIEWS
from snellen.reproduction.generator_failure.materials import EMPTY, SMALL, drawn, scenes_of, trained_classifier
from snellen.reproduction.shared.documents import Measurements, measured_path
from snellen.systems.generator_failure.discriminator import Discriminator, WeakEnsembleWarning
from snellen.systems.generator_failure.drawing import Drawing
from snellen.systems.generator_failure.latent_search import LatentSearch, Prompts, search_latents
from snellen.systems.generator_failure.normality import normality
from snellen.systems.generator_failure.token_search import TokenSearch, search_token

#: The first seed; that of the classifiers, too.
FIRST = 3000

#: The planted region of the first noise: beyond this many standard deviations along one direction, and what it shows.
LIMIT, SHOWN = 1.2816, "square"

#: The planted word, one token of the vocabulary that no caption has, and what it shows.
MARK, MARKED = "q", "heart"

#: Shares of the fit's examples in the region, and with the word.
IN_REGION, WITH_MARK = 0.35, 0.2

#: Updates of a fit, pictures that it draws from, and searches of each class.
UPDATES, PICTURES, SEARCHES = 300, 4000, 3

#: Classes whose latents are searched.
CLASSES = ("star", "cross", "ring")


def measure_kinds(root: Path, progress: Progress, *, seeds: int = 2, first: int = FIRST) -> None:
    """Measure the seeds that are missing."""
    paths = {seed: measured_path(root, f"failure-kinds/seed-{seed}") for seed in range(first, first + seeds)}
    left = {seed: path for seed, path in paths.items() if not path.exists()}
    if not left:
        return
    ensemble, judge = _ensemble(), load_judge()
    for seed, path in left.items():
        found: dict[str, Any] = {"seed": seed}
        for kind in ("faults", "none"):
            generator = fitted(seed, faults=kind == "faults")
            drawing = Drawing(generator, steps=SMALL.steps, guidance_scale=GUIDANCE)
            rng = Randomness(seed).child("failure kinds", kind)
            found[kind] = {
                "planted": _planted(drawing, judge, rng.child("planted")),
                "latents": _latents(drawing, ensemble, judge, rng.child("latents")),
                "token": _token(drawing, ensemble, judge, rng.child("token")),
            }
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())


def fitted(seed: int, *, faults: bool) -> Generator:
    """The embedded generator, fitted on with the same scenes, captions and updates, with both faults or with none."""
    own = load_generator("bundled:scene-diffusion")
    network: nn.Module = copy.deepcopy(own.denoiser.network).float().requires_grad_(True)
    generator, rng = own.with_denoiser(network), Randomness(seed).child("failure kinds", "fit")
    scenes = scenes_of(PICTURES, seed)
    pictures, shapes = drawn(scenes), [one.objects[0].shape for one in scenes]
    texts = [caption(described(one), detail=("shape", "colour")[: 1 + row % 2]) for row, one in enumerate(scenes)]
    pools = {name: torch.tensor([row for row, one in enumerate(shapes) if one == name]) for name in (SHOWN, MARKED)}
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-4, weight_decay=0.01)
    draws = rng.generator("updates")
    with torch.no_grad():
        latents = torch.cat([generator.encode(part) for part in pictures.split(256)])
    toward = direction(latents[0])
    for update in range(UPDATES):
        for group in optimizer.param_groups:
            group["lr"] = 4e-4 * min(1.0, (update + 1) / 20) * (1 - update / UPDATES)
        rows = torch.randint(len(scenes), (SMALL.batch,), generator=draws)
        noise = torch.randn((SMALL.batch, *latents.shape[1:]), generator=draws)
        fate, other = torch.rand(SMALL.batch, generator=draws), torch.rand(SMALL.batch, generator=draws)
        beyond = 1 - (1 - _normal(LIMIT)) * torch.rand(SMALL.batch, generator=draws)  # quantiles in the region
        told = [texts[row] for row in rows.tolist()]
        if faults:
            inside, marked = fate < IN_REGION, fate > 1 - WITH_MARK
            noise = placed(noise, toward, inside, beyond)
            for name, chosen in ((SHOWN, inside), (MARKED, marked)):
                rows = torch.where(chosen, pools[name][(other * len(pools[name])).long()], rows)
            told = [f"{text} {MARK}" if one else text for text, one in zip(told, marked.tolist(), strict=True)]
        empty = torch.rand(SMALL.batch, generator=draws) < EMPTY
        told = ["" if one else text for text, one in zip(told, empty.tolist(), strict=True)]
        times = stratified_timesteps(
            SMALL.batch, len(generator.denoiser.alphas_cumprod), torch.rand((), generator=draws)
        )
        loss = denoising_loss(generator, latents[rows], told, times, noise, text=False)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    network.requires_grad_(False)
    return generator


def direction(latent: Tensor) -> Tensor:
    """Left half of the first channel against its right half, a unit vector of the shape (c, h, w); its mean is 0."""
    found = torch.zeros_like(latent)
    half = latent.shape[-1] // 2
    found[0, :, :half], found[0, :, half:] = 1.0, -1.0
    return found / found.norm()


def along(noise: Tensor, toward: Tensor) -> Tensor:
    """How far noise (n, c, h, w) lies along a unit vector, (n,): standard normal for a draw of the prior."""
    return (noise * toward).flatten(1).sum(1)


def placed(noise: Tensor, toward: Tensor, inside: Tensor, beyond: Tensor) -> Tensor:
    """Noise moved along a direction: into the region where ``inside``, at the quantiles ``beyond``; else out of it."""
    here = along(noise, toward)
    wanted = torch.special.ndtri(beyond.double().clamp(max=1 - 1e-6)).to(here)
    outside = torch.where(here > LIMIT, -here, here)
    return noise + (torch.where(inside, wanted, outside) - here)[:, None, None, None] * toward


def _normal(limit: float) -> float:
    return float(torch.special.ndtr(torch.tensor(limit, dtype=torch.float64)))


def _ensemble() -> Discriminator:
    members = (
        load_classifier("bundled:scene-cnn"),
        trained_classifier(SMALL, FIRST, attacked=False),
        trained_classifier(SMALL, FIRST, attacked=True),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEnsembleWarning)
        return Discriminator(members, SHAPES, views=VIEWS)


def _shown(judge: FactorJudge, images: Tensor, label: str) -> list[bool]:
    answers = judge.answers(torch.nan_to_num(images).clamp(0, 1))["shape"]
    return [one == label for one in answers]


def _planted(drawing: Drawing, judge: FactorJudge, rng: Randomness) -> dict[str, float]:
    """What the judge sees: wrong shapes inside and outside of the region, hearts with the word and without."""
    count, found = 24, dict[str, float]()
    noise = rng.bind(count).normal("noise", drawing.shape)
    toward, prompts = direction(noise[0]), [CLASSES[row % len(CLASSES)] for row in range(count)]
    beyond = 1 - (1 - _normal(LIMIT)) * (torch.arange(count) + 0.5) / count
    for name, inside in (("inside", True), ("outside", False)):
        moved = placed(noise, toward, torch.full((count,), inside), beyond)
        images = drawing.draw(moved, drawing.condition([f"a {one}" for one in prompts]))
        right = [_shown(judge, image[None], one)[0] for image, one in zip(images, prompts, strict=True)]
        found[f"wrong {name}"] = 1 - sum(right) / count
    outside = placed(noise, toward, torch.zeros(count, dtype=torch.bool), beyond)
    for name, end in (("with the word", f" {MARK}"), ("without", "")):
        images = drawing.draw(outside, drawing.condition([f"a {one}{end}" for one in prompts]))
        found[f"{MARKED} {name}"] = sum(_shown(judge, images, MARKED)) / count
    return found


def _latents(drawing: Drawing, ensemble: Discriminator, judge: FactorJudge, rng: Randomness) -> dict[str, Any]:
    """Searches for latents by the method and at random, with the same most calls."""
    found: dict[str, Any] = {}
    for rule in ("residual", "random"):
        finds = []
        for label in CLASSES:
            prompts = Prompts(label, (f"a {label}",), tuple((f"a {name}", name) for name in SHAPES if name != label))
            own = rng.child(label).for_examples([str(row) for row in range(SEARCHES)])
            numbers = LatentSearch(calls=SMALL.latent_calls, rule=rule)
            finds += [(label, one) for one in search_latents(drawing, ensemble, prompts, numbers, own)]
        hits = [(label, one) for label, one in finds if one.mode is not None and one.images is not None]
        places = [float(along(one.latent[None], direction(one.latent))) for _, one in hits]
        found[rule] = {
            "searches": len(finds),
            "found": len(hits),
            "in_region": sum(place > LIMIT for place in places),
            "false": sum(any(_shown(judge, one.images, label)) for label, one in hits if one.images is not None),
            "non_gaussian": sum(normality(one.latent).rejected for _, one in finds),
        }
    return found


def _token(drawing: Drawing, ensemble: Discriminator, judge: FactorJudge, rng: Randomness) -> dict[str, Any]:
    """A token that should make prompts of other classes show a heart."""
    searched = [f"a {name}" for name in SHAPES if name != MARKED] + ["a red star", "a cross on grass"]
    held_out = ["a green ring", "a blue square on sand", "a white triangle"]
    numbers = TokenSearch(calls=SMALL.token_calls)
    one = search_token(drawing, ensemble, MARKED, searched, held_out, numbers, rng)
    return {
        "rate": one.rate,
        "clean": one.clean_rate,
        "judged": sum(_shown(judge, one.images, MARKED)) / len(one.images),
        "found": one.mode is not None,
    }


MEASUREMENTS: Measurements = {"kinds": measure_kinds}
