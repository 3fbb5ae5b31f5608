"""Sets with labels, attributes, splits and pixels of their own, and what planting must not depend on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa

from snellen.core.images import COLUMNS, ImageSet, Split
from snellen.data.files.arrays import load_arrays
from snellen.data.worlds.planting.truth import set_column

COLOURS = ("red", "green", "blue")


def labelled_set(
    count: int = 200, *, classes: int = 5, size: int = 8, seed: int = 0, split: Split | None = "train"
) -> ImageSet:
    """Noise with labels 0, 1, 2 …, units of four, and a colour and a radius as attributes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    images = load_arrays(pixels, np.arange(count) % classes, class_names=[f"class {k}" for k in range(classes)])
    colours = np.random.default_rng(seed + 1).integers(0, 3, count)
    attributes = [json.dumps({"colour": COLOURS[one], "objects": [{"radius": 0.43}]}) for one in colours]
    columns = {
        "unit_id": [f"unit {index // 4}" for index in range(count)],
        "attributes": attributes,
        "split": [split] * count,
    }
    table = images.table
    for name, values in columns.items():
        table = set_column(table, name, pa.array(values, COLUMNS[name]))
    return replace(images, table=table, split=split, name="noise")


def rows(images: ImageSet) -> dict[str, tuple[object, ...]]:
    """Everything about each image, by its id: all columns and the bytes of the picture."""
    records = images.table.to_pylist()
    return {
        str(record["id"]): (tuple(sorted(map(repr, record.items()))), images.read(index).tobytes())
        for index, record in enumerate(records)
    }


def shuffled(images: ImageSet, seed: int = 0) -> ImageSet:
    return images.select(np.random.default_rng(seed).permutation(len(images)))
