"""Documents of a working copy that are written from figures: their tables, and where figures and pictures lie.

A module ``table.py`` below ``snellen/reproduction`` has a constant ``TABLES``, a module ``picture.py`` a constant
``PICTURES``, and a module ``measure.py`` a constant ``MEASUREMENTS``. The runners in ``scripts/`` find them by these
names.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from snellen.core.run import write_atomically
from snellen.metrics.incomplete_beta import student_t_quantile

#: Page below the root of the working copy → name of the markers in it → function of the root that returns Markdown.
Tables = Mapping[str, Mapping[str, Callable[[Path], str]]]

#: Name of a picture → function of the root and of the file to write. It may return lines for the author of the page.
Pictures = Mapping[str, Callable[[Path, Path], str | None]]

#: Part of a measurement → function of the root and a progress; its settings are keyword parameters with defaults.
Measurements = Mapping[str, Callable[..., None]]


def measured_path(root: Path, name: str) -> Path:
    """The file with measured figures of this name."""
    return root / "docs" / "measured" / f"{name}.json"


def picture_path(root: Path, name: str) -> Path:
    """The picture of this name."""
    return root / "docs" / "pictures" / f"{name}.webp"


def read_measured(root: Path, name: str) -> Any:  # noqa: ANN401 - each file has a shape of its own
    """Figures that were measured."""
    return json.loads(measured_path(root, name).read_text(encoding="utf-8"))


def read_all_measured(root: Path, folder: str, pattern: str = "*") -> list[Any]:
    """Figures of all files of a folder below the measured ones whose names match, in the order of names."""
    return [
        json.loads(path.read_bytes())
        for path in sorted(measured_path(root, folder).with_suffix("").glob(f"{pattern}.json"))
    ]


def is_measured(path: Path) -> bool:
    """Whether a file of figures is there; if so, a line says that it is left alone."""
    there = path.exists()
    if there:
        print(f"{path} is there and is left alone; delete it to measure again", file=sys.stderr)  # noqa: T201
    return there


def write_measured(path: Path, found: Any) -> None:  # noqa: ANN401 - each file has a shape of its own
    """Write figures into a file, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())


def from_measured(name: str, draw: Callable[[Any], str]) -> Callable[[Path], str]:
    """A function of the root that draws the figures of this name."""
    return lambda root: draw(read_measured(root, name))


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str] | None = None) -> str:
    r"""Rows as a Markdown table.

    Args:
        head: title of each column.
        rows: cells.
        align: ``---`` or ``---:`` (to the right) for each column; None: all but the first to the right.

    >>> print(markdown_table(["name", "share"], [["a|b", "0.5"]]))
    | name | share |
    | --- | ---: |
    | a\|b | 0.5 |
    """
    lines = [head, align or ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def mean_words(values: ArrayLike, form: str) -> str:
    """Mean over seeds with its 95 % t interval, each number in a form of :meth:`str.format`.

    >>> mean_words([0.5, 0.75, 1.0], "{:.2f}")
    '0.75 (0.13 to 1.37)'

    Args:
        values: one of each seed, at least two.
        form: such as ``"{:.1%}"``.
    """
    each = np.asarray(values, np.float64)
    mean = float(each.mean())
    away = student_t_quantile(0.975, len(each) - 1) * float(each.std(ddof=1)) / math.sqrt(len(each))
    return f"{form.format(mean)} ({form.format(mean - away)} to {form.format(mean + away)})"
