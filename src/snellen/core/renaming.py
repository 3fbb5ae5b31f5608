"""Give a finished file its name, also on Windows, where a file that is being read cannot be replaced."""

from __future__ import annotations

import os
import time
from pathlib import Path

#: Seconds before each further attempt; readers hold a file for less than that.
_PAUSES = (0.01, 0.03, 0.1, 0.3, 0.6)


def rename_over(source: Path | str, target: Path | str) -> None:
    """Rename a file, in place of one of the new name.

    Windows refuses that while another process has one of the two open: a reader of the target, a virus scanner. There
    it is tried again for about a second.

    Raises:
        OSError: of the system; PermissionError where the file is still open.
    """
    for pause in _PAUSES if os.name == "nt" else ():
        try:
            os.replace(source, target)
            return
        except PermissionError:
            time.sleep(pause)
    os.replace(source, target)
