"""How large the files of the package are, and what share of their lines are imports.

    python scripts/count_files.py             prints a row for each room, and one for all

Counted are the Python files of ``src/snellen`` without ``__init__.py``. A line of imports is one that begins with
``import`` or ``from``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

PACKAGE = Path(__file__).parents[1] / "src" / "snellen"

#: Rooms whose code records hold a hash of: it changes with fresh seeds alone.
RECORDED = ("systems", "reproduction")


def row(name: str, files: Sequence[Path]) -> str:
    """Number of files, their lines, the median and the longest, and the share of lines that are imports."""
    texts = [file.read_text(encoding="utf-8").splitlines() for file in files]
    lengths = [len(text) for text in texts]
    imports = sum(bool(re.match(r"(?:import|from) ", line)) for text in texts for line in text)
    share = imports / sum(lengths)
    return f"{name:<22} {len(files):>5} {sum(lengths):>8} {median(lengths):>7g} {max(lengths):>8} {share:>8.1%}"


def main() -> None:
    """Print the table."""
    files = sorted(file for file in PACKAGE.rglob("*.py") if file.name != "__init__.py")
    rooms: dict[str, list[Path]] = {}
    for file in files:
        rooms.setdefault(file.relative_to(PACKAGE).parts[0], []).append(file)
    print(f"{'room':<22} {'files':>5} {'lines':>8} {'median':>7} {'longest':>8} {'imports':>8}")
    for room, members in sorted(rooms.items(), key=lambda pair: -len(pair[1])):
        if len(members) > 1:
            print(row(room, members))
    recorded = [file for room in RECORDED for file in rooms[room]]
    print(row("systems, reproduction", recorded))
    print(row("all others", sorted({*files} - {*recorded})))
    print(row("all", files))


if __name__ == "__main__":
    main()
