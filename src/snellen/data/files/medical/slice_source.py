"""Pixels from slices of files below a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from snellen.data.files.decoding import DecodingLimits
from snellen.data.files.file_source import FileSource

#: A series of many frames is larger than a picture.
LIMITS = DecodingLimits(max_bytes=2**30)


class SliceSource(FileSource):
    """Slices of files below a folder.

    Args:
        root: the folder.
        paths: of the file of each row.
        places: of the slice within it.
        draw: content of a file and place of a slice to a picture; it may raise RejectedImageError.
        refused: row → reason.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        places: Sequence[int],
        draw: Callable[[bytes, int], Image.Image],
        *,
        refused: Mapping[int, str],
    ) -> None:
        super().__init__(root, paths, refused=refused, limits=LIMITS)
        self.places, self._draw = tuple(places), draw
        self._hashes: dict[str, str] = {}

    def read(self, index: int) -> Image.Image:
        """Decode one slice to RGB. Raises RejectedImageError with the reason when it cannot."""
        return self._draw(self._content(index), self.places[index])

    def content_hash(self, index: int) -> str:
        """Hash of the stored bytes of the file and of the place of the slice (sha256, hex)."""
        path = self.paths[index]
        if path not in self._hashes:
            self._hashes[path] = super().content_hash(index)
        return hashlib.sha256(f"{self._hashes[path]} {self.places[index]}".encode()).hexdigest()
