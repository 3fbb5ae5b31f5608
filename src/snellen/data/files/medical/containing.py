"""Readers of medical files whose words stay inside: they repeat values of headers, which may be names of persons."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from snellen.core.errors import RejectedImageError, SnellenError
from snellen.data.files.decoding import pillow_warnings_contained


class _Quiet(logging.Filter):
    """Drops what pydicom and nibabel log in threads that read: its words repeat values of headers."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is let through."""
        return not getattr(self.reading, "now", False)


_QUIET = _Quiet()


@contextmanager
def contained(what: str) -> Iterator[None]:
    """What these raise on a damaged file, errors of many kinds, is a rejection that repeats none of their words.

    Args:
        what: is read.

    Raises:
        RejectedImageError: it cannot be read.
    """
    for name in ("pydicom", "nibabel.global"):
        logger = logging.getLogger(name)
        if _QUIET not in logger.filters:
            logger.addFilter(_QUIET)
    _QUIET.reading.now = True
    try:
        with pillow_warnings_contained():
            yield
    except SnellenError:
        raise
    except Exception as error:
        raise RejectedImageError(f"damaged: {what} cannot be read ({type(error).__name__})") from None
    finally:
        _QUIET.reading.now = False
