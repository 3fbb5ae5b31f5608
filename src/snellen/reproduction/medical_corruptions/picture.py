"""The picture of system 37: one image of stained tissue under every corruption of its modality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.data.files.catalogue.loading import load_known
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.corruption import Corruption
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import Tile, as_bytes, tile_sheet

#: The photograph, the set of MedMNIST-C whose kinds and strengths are for stained tissue, and its size.
PHOTO, BENCHMARK, SIDE = "scikit-image/ihc.png", "pathmnist", 224

#: Of five.
SEVERITY = 3.0

COLUMNS, SHOWN = 6, 122


def draw(root: Path, target: Path) -> None:
    """Corrupt a detail of the published size by all kinds, and draw it as it is and with each."""
    photos = load_known("photos")
    whole = torch.from_numpy(np.array(photos.read(photos.ids.index(PHOTO)))).permute(2, 0, 1)
    image = to_unit(whole[None, :, 100 : 100 + SIDE, 60 : 60 + SIDE])
    tiles = [Tile(as_bytes(image[0]), ("unchanged",))]
    for kind in benchmark(BENCHMARK).main:
        corrupted = Corruption(benchmark=BENCHMARK, kind=kind).shift(image, SEVERITY, rng=Randomness(0))
        tiles.append(Tile(as_bytes(corrupted[0]), (kind.replace("_", " "),)))
    title = f"stained tissue, {len(tiles) - 1} corruptions at severity {SEVERITY:g} of 5"
    rows = [(title, tiles[:COLUMNS]), ("", tiles[COLUMNS:])]
    tile_sheet(rows, SHOWN).save(target, "WEBP", quality=70, method=6)


PICTURES: Pictures = {"medical-corruptions": draw}
