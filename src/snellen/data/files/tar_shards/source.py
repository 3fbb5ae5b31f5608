"""Pixels of members of tar archives, read by their places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import RejectedImageError
from snellen.data.files.decoding import DEFAULT_LIMITS, DecodingLimits
from snellen.data.files.encoded_source import EncodedSource
from snellen.data.files.grey_range import SIXTEEN_BIT
from snellen.data.files.shard_files import ShardFile


class TarSource(EncodedSource):
    """Members of archives, by shard, offset and size. Threads may read at once: each reading opens the shard anew.

    Args:
        shards: the archives, looked at already.
        places: int64 (n, 3): shard, offset and size of each row, bytes.
        refused: row → reason, for rows that must not be read.
        skipped: how many other members the archives hold.
        limits: see :class:`~snellen.data.files.decoding.DecodingLimits`.
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
        super().__init__(refused, limits, grey_range)
        self.shards, self.places, self.skipped = tuple(shards), places, skipped

    def stored(self, index: int) -> bytes:
        """The member, if its shard still is what it was."""
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
