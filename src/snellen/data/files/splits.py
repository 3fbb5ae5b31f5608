"""Say of a whole image set which split it is."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from snellen.core.images import COLUMNS, ImageSet, Split


def as_split(images: ImageSet, split: Split) -> ImageSet:
    """The same images as this split, under ids that begin with it ("train/000017").

    >>> import numpy as np
    >>> from snellen.data.files.arrays import load_arrays
    >>> as_split(load_arrays(np.zeros((2, 4, 4), dtype=np.uint8)), "tune").ids
    ['tune/000000', 'tune/000001']
    """
    ids = [one if one.startswith(f"{split}/") else f"{split}/{one}" for one in images.ids]
    kept = images.table.drop_columns([name for name in ("id", "split") if name in images.table.column_names])
    table = kept.append_column("id", pa.array(ids, COLUMNS["id"]))
    table = table.append_column("split", pa.array([split] * len(images), COLUMNS["split"]))
    return replace(images, table=table, split=split)
