"""Splits: how folders, archives and manifests call them, and what makes a whole image set one of them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import get_args

import pyarrow as pa

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Split

#: Spelling → split. Studies in medicine write tuning for the images that others call validation.
SPELLINGS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "tune": "val",
    "tuning": "val",
    "test": "test",
    "testing": "test",
}


def split_of(name: str) -> Split | None:
    """The split that a name stands for, or None.

    >>> split_of("Val"), split_of("cat")
    ('val', None)
    """
    return SPELLINGS.get(name.strip().lower())


def split_of_file(name: str) -> Split | None:
    """The split that the name of a shard begins with, or None.

    >>> split_of_file("train-00000-of-00012.parquet"), split_of_file("val_3.tar"), split_of_file("training.tar")
    ('train', 'val', 'train')
    >>> split_of_file("testimony-0.tar")
    """
    found = re.match(r"[A-Za-z]+", name)
    return None if found is None else split_of(found[0])


def as_split(images: ImageSet, split: Split) -> ImageSet:
    """The same images as this split, under ids that begin with it ("train/000017").

    >>> import numpy as np
    >>> from snellen.data.files.arrays import load_arrays
    >>> as_split(load_arrays(np.zeros((2, 4, 4), dtype=np.uint8)), "val").ids
    ['val/000000', 'val/000001']

    Raises:
        InputError: another split.
    """
    if split not in get_args(Split):
        raise InputError(f"expected the split train, val or test, got {split!r}")
    ids = [one if one.startswith(f"{split}/") else f"{split}/{one}" for one in images.ids]
    kept = images.table.drop_columns([name for name in ("id", "split") if name in images.table.column_names])
    table = kept.append_column("id", pa.array(ids, COLUMNS["id"]))
    table = table.append_column("split", pa.array([split] * len(images), COLUMNS["split"]))
    return replace(images, table=table, split=split)
