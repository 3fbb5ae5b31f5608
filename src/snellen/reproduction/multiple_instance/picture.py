"""The picture of system 36: a slide that nothing was trained on, and how positive two heads find each of its tiles.

Both begin from the experiment's network and train it end to end: three minutes of a core.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.images import ImageSet, Split
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.data.files.bags import Bags
from snellen.metrics.auroc import auroc
from snellen.reproduction.multiple_instance.experiment import LEARNING_RATES, MIDDLE, begun
from snellen.reproduction.multiple_instance.materials import SLIDES, Material, Sizes, material, slide_bags
from snellen.reproduction.multiple_instance.ways import Task, _bags, _instances
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import RIGHT, WRONG, Tile, as_bytes, stack, tile_sheet
from snellen.systems.multiple_instance.bag_instances import BagInstances

#: Seed of no record, and slides of each split.
SEED, SIZES = 0, Sizes(test=4)

#: Pixels of the slide for each tile.
PIXELS = 16

#: Sides of the maps and of tiles, and tiles of a row.
MAP, TILE, SHOWN = 194, 64, 11


def tiles_of_slide() -> tuple[ImageSet, Tensor]:
    """All tiles of the first positive slide of the test split, and the slide, bytes (3, h, w)."""
    slides = SLIDES.model_copy(update={"count": SIZES.test, "seed": SEED})
    labels = slides.slide_labels(split="test")
    number = next(at for at, label in enumerate(labels.values()) if label)
    tiles = slides.images(split="test")
    rows = np.flatnonzero(np.asarray(tiles.column("bag_id")) == list(labels)[number])
    picture = np.asarray(slides.thumbnail(number, split="test", longest=PIXELS * SLIDES.tiles_across).convert("RGB"))
    return tiles.select(rows), torch.from_numpy(picture.copy()).permute(2, 0, 1)


def places(tiles: ImageSet) -> NDArray[np.int64]:
    """Row and column of each tile in its slide, (n, 2)."""
    found = [json.loads(str(attributes)) for attributes in tiles.column("attributes")]
    return np.array([(one["row"], one["column"]) for one in found])


def tissue(tiles: ImageSet, shown: Tensor) -> Tensor:
    """The square part of a picture of the slide (3, h, h) that holds all tissue."""
    found, per_tile = places(tiles), shown.shape[1] / SLIDES.tiles_across
    first, last = found.min(0), found.max(0) + 1
    side = int((last - first).max()) + 2
    start = np.clip((first + last - side) // 2, 0, SLIDES.tiles_across - side)
    (top, left), (bottom, right) = ((per_tile * edge).round().astype(int).tolist() for edge in (start, start + side))
    return shown[:, top:bottom, left:right]


def heat_map(tiles: ImageSet, values: NDArray[np.float64]) -> Tensor:
    """Values in [0, 1] at the places of their tiles, from white to red; grey where there is no tissue: (3, h, w)."""
    across = SLIDES.tiles_across
    shown = torch.full((3, across, across), 0.85)
    for (row, column), value in zip(places(tiles).tolist(), values.tolist(), strict=True):
        shown[:, row, column] = torch.tensor([1 - 0.3 * value, 1 - value, 1 - value])
    return tissue(tiles, as_bytes(shown))


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the tiles with a lower value, to the fourth power: only the highest ones become red."""
    return (np.argsort(np.argsort(values)) / max(len(values) - 1, 1)) ** 4


def one_bag(tiles: Material) -> BagInstances:
    """All tiles of a slide as one bag."""
    found = Bags.of(tiles.images.unlabelled())
    return BagInstances(
        inputs=tiles.pixels,
        of_bag=torch.from_numpy(found.of_image),
        labels=torch.from_numpy(found.labels),
        ids=tuple(tiles.images.ids),
        bag_ids=found.ids,
        split=tiles.images.split,
    )


def draw(root: Path, target: Path) -> str:
    """Train on bags whose positive ones have a tenth of positive tiles, and score every tile of another slide."""
    tiles, picture = tiles_of_slide()
    truth = tiles.labels
    named: dict[Split, ImageSet] = {split: slide_bags(split, SIZES, SEED) for split in ("train", "val")}
    held = {split: material(images, SIZES, Silent()) for split, images in (named | {"test": tiles}).items()}
    rng = Randomness(SEED)
    budget, numbered = begun(held, rng.child("start"), Silent())
    train, val = (numbered[split].at(MIDDLE)[0] for split in named)
    nothing = np.zeros(len(train), dtype=np.int64)
    task = Task(instances=train, val=val, test=one_bag(numbered["test"]), train_truth=nothing, test_truth=truth)
    seed = rng.generator("training").initial_seed() % 2**31
    ways = {"INS": ("ins", _instances), "attention": ("attention", _bags)}
    found = {
        called: train_way(
            way, task, budget, {"seed": seed, "learning_rate": LEARNING_RATES[way]}, rng, Silent()
        ).of_instances
        for called, (way, train_way) in ways.items()
    }
    learnt = found["INS"]
    maps = [
        Tile(tissue(tiles, picture), ("a positive slide",)),
        Tile(heat_map(tiles, truth.astype(np.float64)), ("its positive tiles, never given",)),
    ]
    for called, scores in found.items():
        area = auroc(truth, scores)
        maps.append(Tile(heat_map(tiles, ranks(scores)), (f"{called}: highest scores red", f"AUROC {area:.2f}")))
    order = np.argsort(learnt)
    rows = []
    for title, chosen in (("highest scores of INS", order[::-1][:SHOWN]), ("lowest scores", order[:SHOWN])):
        shown = []
        for at in chosen.tolist():
            pixels = torch.from_numpy(np.array(tiles.read(at))).permute(2, 0, 1)
            wrong = bool(truth[at]) == title.startswith("lowest")
            shown.append(Tile(pixels, (), WRONG if wrong else RIGHT))
        rows.append((title, shown))
    stack([tile_sheet([("", maps)], MAP), tile_sheet(rows, TILE)]).save(target, "WEBP", quality=80, method=6)
    return f"{len(tiles)} tiles, {truth.mean():.0%} positive"


PICTURES: Pictures = {"multiple-instance": draw}
