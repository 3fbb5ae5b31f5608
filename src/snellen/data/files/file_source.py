"""Pixels from stored files: one way to decode them, to hash them and to refuse them, and files below one folder."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from snellen.core.errors import RejectedImageError
from snellen.data.files.contained_file import read_file
from snellen.data.files.decoding import DEFAULT_LIMITS, SIXTEEN_BIT, DecodingLimits, checked_range, decode


class EncodedSource(ABC):
    """Images with the bytes of one file in each row; subclasses say where these are.

    Args:
        refused: row → reason, for rows that must not be read. limits: see
            :class:`~snellen.data.files.decoding.DecodingLimits`.
        grey_range: values of black and white in grey images of more than 8 bits.
    """

    def __init__(self, refused: Mapping[int, str] | None, limits: DecodingLimits, grey_range: tuple[int, int]) -> None:
        self.refused, self.limits, self.grey_range = dict(refused or {}), limits, checked_range(grey_range)

    @abstractmethod
    def stored(self, index: int) -> bytes:
        """The bytes of one row's file. Raises RejectedImageError with the reason when they cannot be had."""

    def read(self, index: int) -> Image.Image:
        """Decode one image to RGB. Raises RejectedImageError with the reason when it cannot."""
        return decode(self._content(index), limits=self.limits, grey_range=self.grey_range)

    def content_hash(self, index: int) -> str:
        """Hash of the stored bytes (sha256, hex), or of the reason why they cannot be had."""
        return _hash_of(lambda: self._content(index))

    def _content(self, index: int) -> bytes:
        if index in self.refused:
            raise RejectedImageError(self.refused[index])
        return self.stored(index)


class FileSource(EncodedSource):
    """Image files below a folder, by their paths relative to it.

    Args:
        root: the folder that no file may lie outside of.
        paths: relative to ``root``, one for each row.
        refused: row → reason, for rows that must not be read.
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
        self.mask_root = root  # masks may lie in a folder of their own

    def read_mask(self, index: int, path: str) -> Image.Image:
        """Decode the mask at ``path`` below the folder of masks ("L"). Raises RejectedImageError when it cannot."""
        content = read_file(self.mask_root, path, self.limits.max_bytes)
        return decode(content, limits=self.limits, grey_range=self.grey_range).convert("L")

    def mask_hash(self, index: int, path: str) -> str:
        """Hash of the stored bytes of one mask (sha256, hex), or of the reason why they cannot be had."""
        return _hash_of(lambda: read_file(self.mask_root, path, self.limits.max_bytes))

    def stored(self, index: int) -> bytes:
        """The file, if it lies below the folder."""
        return read_file(self.root, self.paths[index], self.limits.max_bytes)


def _hash_of(read: Callable[[], bytes]) -> str:
    try:
        return hashlib.sha256(read()).hexdigest()
    except RejectedImageError as error:
        return hashlib.sha256(f"rejected: {error}".encode()).hexdigest()
