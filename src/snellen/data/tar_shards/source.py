"""Pixels of members of tar archives, read by their places."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.data.decoding import DEFAULT_LIMITS, DecodingLimits, decode
from snellen.data.grey_range import SIXTEEN_BIT, checked_range
from snellen.data.shard_files import ShardFile
from snellen.errors import RejectedImageError


class TarSource:
    """Members of archives, by shard, offset and size. Threads may read at once: each reading opens the shard anew.

    Args:
        shards: the archives, looked at already.
        places: int64 (n, 3): shard, offset and size of each row, bytes.
        refused: row → reason, for rows that must not be read.
        skipped: how many other members the archives hold.
        limits: see :class:`~snellen.data.decoding.DecodingLimits`.
        grey_range: values of black and white in grey images of more than 8 bits.
    """

    def __init__(
        self,
        shards: Sequence[ShardFile],
        places: NDArray[np.int64],
        *,
        refused: Mapping[int, str] | None = None,
        skipped: int = 0,
        limits: DecodingLimits = DEFAULT_LIMITS,
        grey_range: tuple[int, int] = SIXTEEN_BIT,
    ) -> None:
        self.shards, self.places, self.refused, self.skipped = tuple(shards), places, dict(refused or {}), skipped
        self.limits, self.grey_range = limits, checked_range(grey_range)

    def read(self, index: int) -> Image.Image:
        """Decode one image to RGB. Raises RejectedImageError with the reason when it cannot."""
        return decode(self._content(index), limits=self.limits, grey_range=self.grey_range)

    def content_hash(self, index: int) -> str:
        """Hash of the member's bytes (sha256, hex), or of the reason why they cannot be had."""
        try:
            return hashlib.sha256(self._content(index)).hexdigest()
        except RejectedImageError as error:
            return hashlib.sha256(f"rejected: {error}".encode()).hexdigest()

    def _content(self, index: int) -> bytes:
        if index in self.refused:
            raise RejectedImageError(self.refused[index])
        shard, offset, size = self.places[index].tolist()
        if size > self.limits.max_bytes:
            raise RejectedImageError(f"the file has {size} bytes, more than {self.limits.max_bytes} (max_bytes)")
        try:
            with self.shards[shard].opened() as stream:
                stream.seek(offset)
                content = stream.read(size)
        except OSError as error:
            raise RejectedImageError(f"cannot be read: {error.strerror or error}") from error
        if len(content) != size:
            raise RejectedImageError("the archive ends within this file")
        return content
