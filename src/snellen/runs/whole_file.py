"""Files that are written piece by piece and appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from snellen.core.renaming import rename_over


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name when the block ends well; its folder is made.

    Two programs may write the same file at once. What a killed one leaves is called ``.NAME.`` and 12 hexadecimal
    digits (see :func:`snellen.core.unwritable.tidy`). The bytes are on the disk before the name is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        rename_over(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
