"""Pixels from files below one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from snellen.data.files.contained_file import read_file
from snellen.data.files.decoding import DEFAULT_LIMITS, DecodingLimits, decode
from snellen.data.files.encoded_source import EncodedSource
from snellen.data.files.grey_range import SIXTEEN_BIT


class FileSource(EncodedSource):
    """Image files below a folder, by their paths relative to it.

    Args:
        root: the folder that no file may lie outside of.
        paths: relative to ``root``, one for each row.
        refused: row → reason, for rows that must not even be looked at.
        skipped: how many other files the folder holds.
        limits: see :class:`~snellen.data.files.decoding.DecodingLimits`.
        grey_range: values of black and white in grey images of more than 8 bits.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        *,
        refused: Mapping[int, str] | None = None,
        skipped: int = 0,
        limits: DecodingLimits = DEFAULT_LIMITS,
        grey_range: tuple[int, int] = SIXTEEN_BIT,
    ) -> None:
        super().__init__(refused, limits, grey_range)
        self.root, self.paths, self.skipped = root, tuple(paths), skipped

    def read_mask(self, index: int, path: str) -> Image.Image:
        """Decode the mask at ``path`` below the folder ("L"). Raises RejectedImageError when it cannot."""
        content = read_file(self.root, path, self.limits.max_bytes)
        return decode(content, limits=self.limits, grey_range=self.grey_range).convert("L")

    def stored(self, index: int) -> bytes:
        """The file, if it lies below the folder."""
        return read_file(self.root, self.paths[index], self.limits.max_bytes)
