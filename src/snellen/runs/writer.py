"""What a format does: take shifted images one by one, find them again after an interruption, and conclude."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from snellen.runs.measuring import Put
from snellen.runs.settings import Setting


class Row(BaseModel):
    """One image under one setting, as it was written.

    Attributes:
        index: position in the image set.
        hashes: of what was written at each severity (sha256, hex).
        published: for each severity, whether it is exactly a published setting; None where the method does not say.
        grey: whether it is grey at all severities.
        masks: hashes of the masks that were written with it, at each severity; empty where nobody knows the object.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    hashes: tuple[str, ...]
    published: tuple[bool | None, ...]
    grey: bool
    masks: tuple[str, ...] = ()


class Part(Protocol):
    """Takes the images of one shard under one setting."""

    def add(self, index: int, position: int, pixels: NDArray[np.uint8]) -> str:
        """Take one image, uint8 (h, w, 3), at the severity of that position; returns the hash of what is written."""
        ...

    def add_mask(self, index: int, position: int, mask: NDArray[np.bool_]) -> str | None:
        """Take where the object of an image is, (h, w); returns the hash, None where the format holds no masks."""
        ...

    def close(self) -> None:
        """Write what is not written yet."""
        ...


class Writer(Protocol):
    """A format."""

    def part(self, setting: Setting, members: range, put: Put) -> Part:
        """What takes the images at these positions under a setting, and writes files by ``put``."""
        ...

    def discard(self, setting: Setting, row: Row, folder: Path) -> None:
        """Take back an image that was written."""
        ...

    def conclude(
        self,
        settings: Sequence[Setting],
        rows: Mapping[str, Sequence[Row]],
        members: Mapping[str, Sequence[range]],
        folder: Path,
    ) -> list[str]:
        """Write what needs all images.

        Args:
            settings: in order.
            rows: by name of setting.
            members: positions of the images that were written together, by name of setting.
            folder: of the data set.

        Returns:
            Paths relative to the folder.
        """
        ...


def sha256(content: bytes) -> str:
    """Hash of some bytes (hex)."""
    return hashlib.sha256(content).hexdigest()
