"""A set of images that were edited in turns: its record, with the whole history of every image, and its table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.errors import InputError
from snellen.systems.edited_regions.planning import EditType

#: Where a base image comes from: untouched pixels of a generated one are synthetic, too.
BaseKind = Literal["real", "generated"]

#: The record of a made set, and its table of images.
RECORD, MANIFEST = "edits.json", "manifest.csv"

#: Table of the images that a detector may be fitted to: the splits train and val.
FITTING = "fitting.csv"


class TurnRecord(BaseModel):
    """One turn that was kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    editor: str
    label: int
    edit: EditType
    prompt: str
    mask_sha256: str
    area: float = Field(description="of the mask, share of the image")
    seed: int
    composited: bool
    score: float
    changed_inside: float
    changed_outside: float


class Provenance(BaseModel):
    """How one image came about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    file: str = Field(description="name of its file in images/ and in labels/")
    base: str
    base_kind: BaseKind
    base_sha256: str
    split: str
    turns: tuple[TurnRecord, ...]


class Decision(BaseModel):
    """What the filter decided about one candidate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    turn: int
    attempt: int
    editor: str
    edit: EditType
    prompt: str
    score: float | None = Field(description="None where there was no region to edit")
    accepted: bool


class MadeSet(BaseModel):
    """Everything that was made; ``edits.json``.

    Attributes:
        plan: everything that could change a byte.
        editors: label → name of the editor.
        images: provenance of each.
        decisions: of the filter, each candidate.
        acceptance: share of the candidates that were kept.
        areas: how many kept edits have which share of the image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: dict[str, Any]
    editors: dict[int, str]
    images: tuple[Provenance, ...]
    decisions: tuple[Decision, ...]
    acceptance: float | None
    areas: dict[str, int]


def table_of(images: Sequence[Provenance]) -> str:
    """The table of images, with their label maps in the column ``edits``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "id", "label", "unit_id", "split", "edits", "base_kind", "turns"])
    for one in images:
        kind, turns = "edited" if one.turns else "untouched", len(one.turns)
        row = [f"images/{one.file}", one.id, kind, one.base, one.split, f"labels/{one.file}", one.base_kind, turns]
        writer.writerow(row)
    return text.getvalue()


def read_made(folder: Path | str) -> MadeSet:
    """The record of a made set.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = Path(folder) / RECORD
    try:
        return MadeSet.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no record of edited images: {str(error).splitlines()[0]}") from error
