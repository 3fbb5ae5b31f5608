"""Keep Pillow's warnings inside the decoder, also when several threads decode at once.

``warnings.catch_warnings`` swaps a list that all threads share, so two overlapping uses can leave the wrong list in
place for good. Here, filters that concern Pillow alone are put in front while at least one thread decodes, and exactly
those are taken out again.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL.Image import DecompressionBombWarning

# A pattern that nobody else will write, so that only our own entries are taken out again.
_PILLOW = r"(?:PIL)(?:\.|$)"


@contextmanager
def pillow_warnings_contained() -> Iterator[None]:
    """Inside a ``with`` block Pillow's warnings are silent, and its warning of decompression bombs is raised.

    >>> with pillow_warnings_contained():
    ...     warnings.warn_explicit("odd tag", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
    """
    _filters.enter()
    try:
        yield
    finally:
        _filters.leave()


class _Filters:
    """Counts the threads that decode; the first puts the filters in, the last takes them out."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.decoding = 0
        self.inserted_into: list[Any] = []

    def enter(self) -> None:
        with self.lock:
            self.decoding += 1
            if self.decoding == 1:
                self.remove()
                warnings.filterwarnings("ignore", module=_PILLOW)
                warnings.filterwarnings("error", category=DecompressionBombWarning, module=_PILLOW)
                self.inserted_into = warnings.filters  # type: ignore[assignment]

    def leave(self) -> None:
        with self.lock:
            self.decoding -= 1
            if self.decoding == 0:
                self.remove()
                self.inserted_into = []

    def remove(self) -> None:
        """Take them out of the list they went into, and of the copy that another thread may have put in its place."""
        current: list[Any] = warnings.filters  # type: ignore[assignment]
        for filters in (self.inserted_into, current):
            for entry in [entry for entry in filters if getattr(entry[3], "pattern", None) == _PILLOW]:
                filters.remove(entry)


_filters = _Filters()
