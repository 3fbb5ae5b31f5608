"""One set of source images for all settings: an image that fails one edit is left out of all, by name and reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SameSources:
    """What is left.

    Attributes:
        kept: ids of images that every setting could edit, in their order.
        left_out: of the others, the settings that failed and why, as pairs.
    """

    kept: tuple[str, ...]
    left_out: Mapping[str, tuple[tuple[str, str], ...]]


def same_sources(ids: Sequence[str], statuses: Mapping[str, Sequence[str]]) -> SameSources:
    """Which images every setting could edit.

    >>> same_sources(["a", "b"], {"size_5": ["ok", "ok"], "random_position": ["ok", "no other place"]})
    SameSources(kept=('a',), left_out={'b': (('random_position', 'no other place'),)})

    Args:
        ids: of the images.
        statuses: by setting, for each image "ok" or why it could not be edited.
    """
    failed = {
        key: tuple((setting, found[row]) for setting, found in statuses.items() if found[row] != "ok")
        for row, key in enumerate(ids)
    }
    return SameSources(
        tuple(key for key in ids if not failed[key]), {key: reasons for key, reasons in failed.items() if reasons}
    )
