"""How splits are called in folders, archives and manifests."""

from __future__ import annotations

from snellen.images import Split

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
