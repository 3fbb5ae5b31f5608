"""How splits are called in folders, archives and manifests."""

from __future__ import annotations

import re

from snellen.core.images import Split

#: Spelling → split. What others call validation is what models are tuned on.
SPELLINGS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "tune": "tune",
    "val": "tune",
    "valid": "tune",
    "validation": "tune",
    "test": "test",
    "testing": "test",
}


def split_of(name: str) -> Split | None:
    """The split that a name stands for, or None.

    >>> split_of("Val"), split_of("cat")
    ('tune', None)
    """
    return SPELLINGS.get(name.strip().lower())


def split_of_file(name: str) -> Split | None:
    """The split that the name of a shard begins with, or None.

    >>> split_of_file("train-00000-of-00012.parquet"), split_of_file("val_3.tar"), split_of_file("training.tar")
    ('train', 'tune', 'train')
    >>> split_of_file("testimony-0.tar")
    """
    found = re.match(r"[A-Za-z]+", name)
    return None if found is None else split_of(found[0])
