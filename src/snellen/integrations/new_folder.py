"""A folder of its own for each run."""

from __future__ import annotations

from pathlib import Path


def new_folder(folder: Path, name: str) -> Path:
    """Make a folder of this name, with a number behind it where earlier runs have left theirs."""
    number = 1
    while True:
        place = folder / (name if number == 1 else f"{name}-{number}")
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            if not place.is_dir():
                raise
            number += 1
        else:
            return place
