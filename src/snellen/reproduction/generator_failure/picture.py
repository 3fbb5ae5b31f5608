"""The picture of system 7: natural prompts and likely first noise on which a generator draws another shape.

It fits the generators and the classifiers of the record with a seed of no record: five minutes of a core.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.models.classifiers.factor_judge import FactorJudge
from snellen.reproduction.generator_failure.experiment import GUIDANCE, Experiment
from snellen.reproduction.generator_failure.materials import PLANTED, SMALL
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import Tile, as_bytes, tile_sheet, verdict
from snellen.systems.generator_failure.discriminator import WeakEnsembleWarning
from snellen.systems.generator_failure.drawing import Drawing
from snellen.systems.generator_failure.language_prior import caption_prior, caption_synonyms
from snellen.systems.generator_failure.latent_search import LatentSearch, Prompts, search_latents
from snellen.systems.generator_failure.prompt_search import PromptSearch, PromptSearcher

SEED = 0

#: Searches for a prompt of each planted gap, until one finds a failure.
SEARCHES = 4

#: Images of a prompt, and of a class under one first noise.
SHOWN = 4

#: Four pixels of the sheet for each of an image.
SIDE = 128


def draw(root: Path, target: Path) -> None:
    """For each planted gap the first prompt and the found one; then found noise under prompts of several classes.

    Frames and words are of the embedded judge, which took no part.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEnsembleWarning)
        experiment = Experiment(SMALL, SEED)
    rows = _prompts(experiment) + _latents(experiment)
    tile_sheet(rows, SIDE).save(target, "WEBP", quality=75, method=6)


def _prompts(experiment: Experiment) -> list[tuple[str, list[Tile]]]:
    """Each gap with a find: images of the first prompt and of the found one from the same fresh noise."""
    drawing, prior, rows = Drawing(experiment.gaps, steps=SMALL.steps, guidance_scale=GUIDANCE), caption_prior(), []
    numbers = PromptSearch(
        latents=SMALL.fresh, gradient_latents=2, checked=6, beam=2, calls=SMALL.prompt_calls, rule="gradient"
    )
    for _, shape in PLANTED:
        for number in range(SEARCHES):
            searcher = PromptSearcher(
                drawing, experiment.ensemble, prior, shape, "a {}", numbers, caption_synonyms(shape)
            )
            find = searcher.search(Randomness(SEED).child("picture", shape, number))
            if find.mode is not None and find.latents is not None and find.images is not None:
                first = drawing.draw(find.latents[:SHOWN], drawing.condition([f"a {shape}"] * SHOWN))
                tiles = _judged(experiment.judge, first, [shape] * SHOWN)
                tiles += _judged(experiment.judge, find.images[:SHOWN], [shape] * SHOWN)
                rows.append((f"'a {shape}', and the found prompt '{find.prompt}' from the same noise", tiles))
                break
    return rows


def _latents(experiment: Experiment) -> list[tuple[str, list[Tile]]]:
    """Of each class the first noise that was found, under its prompt and under those of other classes."""
    drawing, rows = Drawing(experiment.sound, steps=SMALL.steps, guidance_scale=GUIDANCE), []
    for label in SMALL.classes:
        others = [one for one in SMALL.classes if one != label]
        prompts = Prompts(label, (f"a {label}",), tuple((f"a {one}", one) for one in others))
        rng = Randomness(SEED).child("picture", label).for_examples([str(row) for row in range(SEARCHES)])
        finds = search_latents(drawing, experiment.ensemble, prompts, LatentSearch(calls=SMALL.latent_calls), rng)
        for find in finds:
            if find.mode is not None:
                named = [label, *others]
                texts = drawing.condition([f"a {one}" for one in named])
                begun = drawing.draw(find.start.expand(len(named), -1, -1, -1), texts)
                found = drawing.draw(find.latent.expand(len(named), -1, -1, -1), texts)
                tiles = _judged(experiment.judge, begun, named) + _judged(experiment.judge, found, named)
                rows.append((f"prompts of four classes from random noise, and from noise found for 'a {label}'", tiles))
                break
    return rows


def _judged(judge: FactorJudge, images: Tensor, wanted: Sequence[str]) -> list[Tile]:
    """Each image with what the judge sees in it."""
    seen = judge.answers(images.clamp(0, 1))["shape"]
    return [
        Tile(as_bytes(image), (f"'a {want}'", f"judge: {one}"), verdict(one, want))
        for image, one, want in zip(images, seen, wanted, strict=True)
    ]


PICTURES: Pictures = {"generator-failure": draw}
