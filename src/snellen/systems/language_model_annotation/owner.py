"""The owner's labels, about 100: they choose and validate, and nothing is trained on them (stage F).

Half of them (``val``) choose thresholds and show disagreements; the other half (``report``) measures, once.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snellen.core.errors import InputError, unknown_name
from snellen.core.randomness import derive_seed

#: How a label may be written.
_WRITTEN = {"1": 1, "yes": 1, "true": 1, "in": 1, "0": 0, "no": 0, "false": 0, "out": 0}

_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Owner:
    """Labels by the row of the image: 1 belongs to the concept, 0 does not.

    Attributes:
        val: choose.
        report: measure.
    """

    val: Mapping[int, int]
    report: Mapping[int, int]

    @property
    def rows(self) -> tuple[int, ...]:
        """All images that the owner labelled, in order."""
        return tuple(sorted({*self.val, *self.report}))


def split_labels(labels: Mapping[int, int], ids: Sequence[str], seed: int) -> Owner:
    """Divide labels by a hash of each image's id, so that labels that are added later move no image to the other half.

    A class with two labels or more that fell into one half alone gives the image with the largest hash to the other.

    >>> owner = split_labels({row: int(row < 4) for row in range(40)}, [str(row) for row in range(40)], seed=0)
    >>> len(owner.val) + len(owner.report)
    40

    Args:
        labels: 0 or 1, by row.
        ids: of all images.
        seed: of the hash.
    """
    drawn = {row: derive_seed(seed, "half", ids[row]) for row in labels}
    chosen = {row for row, number in drawn.items() if number % 2 == 0}
    for value in (1, 0):
        rows = sorted((row for row, own in labels.items() if own == value), key=drawn.__getitem__)
        if len(rows) > 1 and len(chosen.intersection(rows)) in (0, len(rows)):
            chosen ^= {rows[-1]}
    parts = ({row: own for row, own in sorted(labels.items()) if (row in chosen) is half} for half in (True, False))
    return Owner(*parts)


def read_labels(path: Path, name: str) -> dict[str, int]:
    """A table of the owner's labels: CSV with the columns ``id`` and ``label``, 1 or yes, 0 or no; empty: skipped.

    Args:
        path: of the file.
        name: of the concept, which is also a label, unless it is one of the fixed words ("out").

    Raises:
        InputError: no such file or columns, an image twice, or a label that is none; the message names the line.
    """
    if not path.is_file():
        raise InputError(f"no table of labels at {path}")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path} is too large for labels of one person (at most {_MAX_BYTES} bytes)")
    try:
        rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        if not {"id", "label"} <= set(rows.fieldnames or ()):
            raise InputError(f"{path}: expected the columns id and label; got {', '.join(rows.fieldnames or ['none'])}")
        known, found = {name.casefold(): 1, f"not {name}".casefold(): 0, **_WRITTEN}, dict[str, int]()
        for row in rows:
            written = (row["label"] or "").strip().casefold()
            if not written:
                continue
            if written not in known:
                raise InputError(f"{path}, line {rows.line_num}: {row['label']!r} is no label; write yes or no")
            if row["id"] in found:
                raise InputError(f"{path}, line {rows.line_num}: {row['id']!r} occurs twice; give it one label")
            found[str(row["id"])] = known[written]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not readable as CSV in UTF-8: {error}") from error
    if not found:
        raise InputError(f"{path} holds no label; write yes or no into the column label")
    return found


def by_row(labels: Mapping[str, int], ids: Sequence[str], pool: str) -> dict[int, int]:
    """Labels by the row of their image.

    Raises:
        InputError: an image that is not in the pool, or cannot be used.
    """
    rows = {one: row for row, one in enumerate(ids)}
    absent = next((one for one in labels if one not in rows), None)
    if absent is not None:
        raise unknown_name(f"usable image of {pool}", absent, ids)
    return {rows[one]: value for one, value in labels.items()}
