"""The images that a scan named: a table of them, and the training images without them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.runs.layout import classes_of
from snellen.runs.record import EVIDENCE

#: The reason of rows that a scan names, and the view that they must be of where a scan has several.
SUSPECT, TRAINING = "suspect", "training"

#: The table of the images that a scan named, for people.
SUSPECTS = "suspects.csv"


def named_rows(evidence: Evidence, images: ImageSet) -> list[dict[str, object]]:
    """The images that scans named with a reason, of each setting the highest scores first, and those without one last.

    Args:
        evidence: of the scans. Settings whose rows are no images, such as classes, name none.
        images: that were scanned.

    Returns:
        For each image ``id``, its class as ``given`` (None where unknown), ``reason``, ``score`` and ``setting``.
    """
    classes = dict(zip(images.ids, classes_of(images), strict=True))
    found = list[dict[str, object]]()
    for setting in evidence.settings:
        rows = [row for row in evidence.where(setting=setting).table.to_pylist() if row.get("view") in (None, TRAINING)]
        if any(row["example_id"] not in classes for row in rows):
            continue
        named = [row for row in rows if row["status"] == "ok" and row["reason"] is not None]
        named.sort(key=_score, reverse=True)
        found += [
            {
                "id": row["example_id"],
                "given": classes[row["example_id"]],
                "reason": row["reason"],
                "score": row["value"],
                "setting": setting,
            }
            for row in named
        ]
    return found


def _score(row: dict[str, Any]) -> float:
    """Of a row of evidence; below all others where there is none."""
    value = row["value"]
    return -math.inf if value is None or math.isnan(value) else float(value)


@dataclass(frozen=True)
class LeftOut:
    """What was left out of a training because a scan named it; a part of the lineage of what was trained.

    Attributes:
        scan: name of the scan's folder.
        evidence: sha256 of its evidence.
        images: how many it named.
    """

    scan: str
    evidence: str
    images: int

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @property
    def words(self) -> str:
        """In a sentence.

        >>> LeftOut("scanned", "0123456789abcdef0123", 89).words
        'Left out of the training images: 89 that the scan scanned named as suspects (evidence 0123456789abcdef…).'
        """
        return (
            f"Left out of the training images: {self.images} that the scan {self.scan} named as suspects (evidence "
            f"{self.evidence[:16]}…)."
        )


def without_named(images: ImageSet, folder: Path) -> tuple[ImageSet, LeftOut]:
    """The images that a scan of them did not name as suspects, and what was left out.

    Args:
        images: that were scanned, or more of them.
        folder: that ``snellen scan`` wrote.

    Raises:
        InputError: no evidence of a scan there, it is of other images or names some that are not among these, or
            nothing would stay.
    """
    path = folder / EVIDENCE
    try:
        table = Evidence.read(path).table
    except (OSError, pa.ArrowException, InputError) as error:
        raise InputError(
            f"{path} is no evidence of a scan ({error}); give the folder that 'snellen scan training-set' wrote"
        ) from error
    views = table["view"].to_pylist() if "view" in table.column_names else [TRAINING] * len(table)
    rows = list(zip(table["example_id"].to_pylist(), table["reason"].to_pylist(), views, strict=True))
    if not {key for key, _, view in rows if view == TRAINING} & set(images.ids):
        raise InputError(f"{folder} holds a scan of other images: none of {images.name} is in it")
    named = {key for key, reason, view in rows if reason == SUSPECT and view == TRAINING}
    unknown = named.difference(images.ids)
    if unknown:
        raise InputError(
            f"{folder} names {sorted(unknown)[0]!r}, and {images.name} has no such image; give the images that were "
            f"scanned"
        )
    kept = [row for row, key in enumerate(images.ids) if key not in named]
    if not kept:
        raise InputError(f"{folder} names all {len(images)} images of {images.name}; nothing would stay")
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    left_out = LeftOut(folder.resolve().name, content, len(images) - len(kept))
    return images.select(kept, name=f"{images.name} without {len(named)} suspects"), left_out
