"""Pixels from slices of files below a folder."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from snellen.core.errors import RejectedImageError
from snellen.data.files.decoding import DecodingLimits
from snellen.data.files.file_source import FileSource

#: A series of many frames is larger than a picture.
LIMITS = DecodingLimits(max_bytes=2**30)


class SliceSource(FileSource):
    """Slices of files below a folder; a file of several is read and opened once for those that follow each other.

    Args:
        root: the folder.
        paths: of the file of each row.
        places: of the slice within it.
        opened: content of a file to what slices are drawn from; it may raise RejectedImageError.
        draw: what was opened and place of a slice to a picture; it may raise RejectedImageError.
        refused: row → reason.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        places: Sequence[int],
        opened: Callable[[bytes], Any],
        draw: Callable[[Any, int], Image.Image],
        *,
        refused: Mapping[int, str],
    ) -> None:
        super().__init__(root, paths, refused=refused, limits=LIMITS)
        self.places, self._open, self._draw = tuple(places), opened, draw
        self._several = {path for path, count in Counter(self.paths).items() if count > 1}
        self._held = threading.local()  # one file for each thread that reads
        self._hashes: dict[str, str] = {}

    def read(self, index: int) -> Image.Image:
        """Decode one slice to RGB. Raises RejectedImageError with the reason when it cannot."""
        return self._draw(self._opened(index), self.places[index])

    def _opened(self, index: int) -> Any:  # noqa: ANN401 - what its reader makes of a file
        """What one file was opened to; the last one of several slices is held while it does not change."""
        path = self.paths[index]
        if path not in self._several or index in self.refused:
            return self._open(self._content(index))
        try:
            now = (self.root / path).stat()
        except OSError:
            return self._open(self._content(index))  # says why
        stamp = (path, now.st_mtime_ns, now.st_size, now.st_ino)
        if getattr(self._held, "stamp", None) != stamp:
            self._held.stamp = None
            try:
                self._held.file, self._held.reason = self._open(self._content(index)), None
            except RejectedImageError as error:  # its text alone: a traceback holds the content
                self._held.file, self._held.reason = None, str(error)
            self._held.stamp = stamp
        if self._held.reason is not None:
            raise RejectedImageError(self._held.reason)
        return self._held.file

    def content_hash(self, index: int) -> str:
        """Hash of the stored bytes of the file and of the place of the slice (sha256, hex)."""
        path = self.paths[index]
        if path not in self._hashes:
            self._hashes[path] = super().content_hash(index)
        return hashlib.sha256(f"{self._hashes[path]} {self.places[index]}".encode()).hexdigest()
