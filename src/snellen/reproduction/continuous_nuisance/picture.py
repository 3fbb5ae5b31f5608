"""The picture of system 2: an object under each shift in rising strength, and what two networks decide.

It trains the four sliders and the networks with a seed of no record: two minutes of a core.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from snellen.core.progress import Silent
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.small_world import SHAPES
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler
from snellen.reproduction.continuous_nuisance.classifiers import REFERENCE, trained_classifiers
from snellen.reproduction.continuous_nuisance.scales import SHIFTS, SMALL, TEMPLATE
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import Tile, as_bytes, tile_sheet, verdict
from snellen.systems.continuous_nuisance.slider import Slider
from snellen.systems.continuous_nuisance.slider_folder import sliders_in
from snellen.systems.continuous_nuisance.trajectories import sample_trajectories
from snellen.systems.continuous_nuisance.words import class_prompt

SEED = 0

#: The network beside the plain one: trained with stripes and bricks as well.
OTHER = "plain_augmented"

#: Objects of each class to choose from.
OBJECTS = 4

#: Four pixels of the sheet for each of an image.
SIDE = 128


def draw(root: Path, target: Path) -> None:
    """A row for each shift, a tile for each strength; the frame is of the plain network.

    Of each shift the first object is shown that the plain network decides right at strength 0 and wrong at the largest.
    """
    shapes = list(SHAPES) * OBJECTS
    prompts = [class_prompt(TEMPLATE, shape) for shape in shapes]
    sampler = Sampler(load_generator("bundled:scene-diffusion"), steps=SMALL.steps)
    sliders: dict[str, Slider] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, one in SHIFTS.items():
            fit = SMALL.fit.model_copy(update={"learning_rate": one.learning_rate})
            sliders |= sliders_in(
                Path(folder),
                sampler.generator,
                {name: one.words},
                prompts[: len(SHAPES)],
                fit=fit,
                seed=SEED,
                progress=Silent(),
            )
        made = sample_trajectories(
            sampler,
            sliders,
            prompts,
            [derive_seed(SEED, "picture", row) % 2**31 for row in range(len(prompts))],
            SMALL.strengths,
            guidance_scale=SMALL.guidance_scale,
            batch_size=30,
            progress=Silent(),
        )
    networks = {one.name: one for one in trained_classifiers(SMALL, SEED, Silent()) if one.name in (REFERENCE, OTHER)}
    rows = []
    for name, images in zip(made.concepts, made.images, strict=True):
        with torch.no_grad():
            answers = {key: network(images.flatten(0, 1)).argmax(1) for key, network in networks.items()}
        said = {key: [SHAPES[at] for at in found.tolist()] for key, found in answers.items()}
        row = _first_lost(said[REFERENCE], shapes)
        named = {"plain": said[REFERENCE], "knows both": said[OTHER]}
        count = len(SMALL.strengths)
        tiles = [
            Tile(
                as_bytes(images[row, column]),
                (f"strength {strength:g}", *(f"{key}: {found[row * count + column]}" for key, found in named.items())),
                verdict(said[REFERENCE][row * count + column], shapes[row]),
            )
            for column, strength in enumerate(SMALL.strengths)
        ]
        rows.append((f"{shapes[row]} {SHIFTS[name].words}", tiles))
    tile_sheet(rows, SIDE).save(target, "WEBP", quality=75, method=6)


def _first_lost(said: Sequence[str], shapes: Sequence[str]) -> int:
    """The first object that is right at strength 0 and wrong at the largest; the first of all where there is none."""
    count = len(SMALL.strengths)
    lost = [row for row, shape in enumerate(shapes) if said[row * count] == shape != said[(row + 1) * count - 1]]
    return lost[0] if lost else 0


PICTURES: Pictures = {"continuous-nuisance": draw}
