"""Pictures of explanations as files: a sheet for each image or part, and regions as masks of the originals."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from snellen.core.run import Run
from snellen.runs.picture_grid import picture_grid
from snellen.runs.safe_names import file_names, folder_names
from snellen.runs.whole_file import whole_file
from snellen.verbs.explained_batches import HEADS, PICTURES, REGIONS

#: Folder of masks inside the folder of a method.
MASKS = "masks"


def write_pictures(run: Run, shards: Sequence[int], setting: str, folder: Path) -> list[str]:
    """Write what the shards of one method hold; returns folders relative to ``folder``, which may be none.

    ``SETTING/NAME.png`` is a sheet, ``SETTING/masks/REGION/NAME.png`` a mask of the original, 255 inside.
    """
    ids = [key for shard in shards for key in run.shard_evidence(shard, setting).table["example_id"].to_pylist()]
    names = dict(zip(ids, file_names(ids, ".png"), strict=True))
    written: dict[str, None] = {}
    for shard in shards:
        for row in run.shard_evidence(shard, setting).table.to_pylist():
            name = names[row["example_id"]]
            if row[PICTURES]:
                written[setting] = None
                tiles = [_pixels(content) for content in row[PICTURES]]
                caption = row["text"] or row["reason"] or ""
                sheet = picture_grid(f"{row['example_id']}  ({setting})", row[HEADS], [(tiles, caption)])
                with whole_file(folder / setting / name) as stream:
                    sheet.save(stream, "PNG")
            regions = row.get(REGIONS) or []
            places = folder_names(region["name"] for region in regions)
            for region in regions:
                place = f"{setting}/{MASKS}/{places[region['name']]}"
                written[place] = None
                with whole_file(folder / place / name) as stream:
                    stream.write(region["file"])
    return list(written)


def _pixels(content: bytes) -> torch.Tensor:
    """A picture of a shard as uint8 (3, h, w)."""
    return torch.from_numpy(
        np.array(Image.open(io.BytesIO(content), formats=("PNG",)).convert("RGB")).transpose(2, 0, 1).copy()
    )
