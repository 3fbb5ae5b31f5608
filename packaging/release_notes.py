"""Print the part of CHANGELOG.md on one version: ``python packaging/release_notes.py VERSION``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def notes(changelog: str, version: str) -> str:
    """What stands under ``## VERSION``, with or without a date behind it.

    Raises:
        ValueError: nothing does; the message lists the versions that are there.
    """
    parts = re.split(r"^## (.+)\n", changelog, flags=re.MULTILINE)
    known = dict(zip(parts[1::2], parts[2::2], strict=True))
    text = next((part.strip() for title, part in known.items() if title.split()[0] == version), "")
    if not text:
        raise ValueError(f"CHANGELOG.md says nothing on {version}; it has: {', '.join(known)}")
    return text


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(str(__doc__))
    try:
        print(notes(CHANGELOG.read_text(encoding="utf-8"), sys.argv[1]))
    except ValueError as error:
        sys.exit(f"error: {error}")
