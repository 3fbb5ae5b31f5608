"""The folder that a command writes to when none is named."""

from __future__ import annotations

from pathlib import Path


def free_folder(stem: str) -> Path:
    """First of STEM-1, STEM-2, … that does not exist here.

    >>> free_folder("no-such-folder").name
    'no-such-folder-1'
    """
    number = 1
    while Path(f"{stem}-{number}").exists():
        number += 1
    return Path(f"{stem}-{number}")
