"""The record of scans, what ``scan.json`` holds, and their pictures as files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.outcomes import Scanned, Shown
from snellen.core.preprocessing import to_image
from snellen.runs.image_sheet import captioned_sheet
from snellen.runs.measuring import Put
from snellen.runs.picture_grid import picture_grid
from snellen.runs.record import EVIDENCE as EVIDENCE
from snellen.runs.record import RejectedImage, RunResult, Summary, Table
from snellen.runs.safe_names import file_names, slug
from snellen.runs.scan_suspects import SUSPECTS
from snellen.runs.thumbnails import png

RECORD = "scan.json"

#: How messages call it.
WHAT = "scan"

_ABOUT_SUSPECTS = (
    f"{SUSPECTS} lists the images that were named, with label, reason and score. View them before you remove any."
)


class ScannedFigures(BaseModel):
    """What one method found.

    Attributes:
        method: the method and its parameters.
        statistic: what the verdict rests on; None where nothing could be measured.
        verdict: in guarded words.
        figures: further figures by name.
        assumptions: what they rest on.
        control: what a method that does nothing scores, in words, or None.
        rejected: what this method could not use.
        pictures: files of its pictures, relative to the folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: dict[str, Any]
    statistic: float | None
    verdict: str
    figures: dict[str, float | None]
    assumptions: tuple[str, ...]
    control: str | None
    rejected: tuple[RejectedImage, ...]
    pictures: tuple[str, ...]


class ScannedSet(RunResult):
    """What scans found. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: model (None without one), data, settings with their methods, seed, machine, versions.
        settings: what each method found, by name.
        files: evidence, the table of images that were named, and pictures, relative to the folder.
    """

    file: ClassVar[str] = RECORD

    settings: dict[str, ScannedFigures]

    def summary(self) -> Summary:
        """Figures of each method, verdicts with what they rest on."""
        model = self.plan["model"]
        rows, lines = list[tuple[str, str]](), list[str]()
        for name, found in self.settings.items():
            rows += [(f"{name}.{figure}", _shown(value)) for figure, value in found.figures.items()]
            lines += [f"\n{name}: {found.verdict}", *(f"- {assumption}" for assumption in found.assumptions)]
            lines += [] if found.control is None else [f"- control: {found.control}"]
        table = (Table(("figure", "value"), tuple(rows), frozenset({1})),) if rows else ()
        return Summary(
            f"{self.plan['data']['name']}{'' if model is None else ' before ' + model['name']}",
            (*table, *lines),
            rejected=tuple(one for found in self.settings.values() for one in found.rejected),
            files=self.files,
            record=RECORD,
            last=(_ABOUT_SUSPECTS,) if SUSPECTS in self.files else (),
        )


def scanned_figures(scanned: Scanned, method: dict[str, Any], pictures: tuple[str, ...]) -> ScannedFigures:
    """What one method found, without its rows; NaN and infinity become None."""
    rejected = scanned.evidence.where(status="rejected").table
    ids, reasons = rejected["example_id"].to_pylist(), rejected["reason"].to_pylist()
    return ScannedFigures(
        method=method,
        statistic=_finite(scanned.statistic),
        verdict=scanned.verdict,
        figures={name: _finite(value) for name, value in scanned.figures.items()},
        assumptions=scanned.evidence.assumptions,
        control=scanned.evidence.control,
        rejected=tuple(RejectedImage(id=key, reason=reason or "") for key, reason in zip(ids, reasons, strict=True)),
        pictures=pictures,
    )


def _shown(value: float | None) -> str:
    """A figure with four decimals; a whole one, such as a count, with none."""
    if value is None:
        return "–"
    return f"{value + 0.0:.0f}" if value.is_integer() else f"{value:.4f}"


def _finite(value: float | None) -> float | None:
    return None if value is None or not abs(value) < float("inf") else float(value)


#: Rows of a sheet, at most; pictures of a sheet that shows one of each item, and lines of text below each of them.
ROWS, TILES, LINES = 12, 24, 3


def write_pictures(shown: Sequence[Shown], setting: str, title: str, put: Put) -> tuple[str, ...]:
    """Write ``SETTING/NAME-WHAT.png`` for every picture, and ``sheet-SETTING.png``.

    Several pictures of an item stand side by side in a row of their own; where there is one of each, items share rows.

    Args:
        shown: rows; all hold pictures of the same kinds.
        setting: name of the setting, which is that of a folder.
        title: of the sheet.
        put: writes a file.

    Returns:
        Paths relative to the folder, the sheet first; nothing where there are no rows.

    Raises:
        InputError: rows that do not show the same.
    """
    if not shown:
        return ()
    heads = list(shown[0].pictures)
    for row in shown:
        if list(row.pictures) != heads:
            raise InputError(f"{row.name} shows {list(row.pictures)}, {shown[0].name} {heads}: rows must show the same")
    files = [f"sheet-{setting}.png"]
    rows = [([_bytes(picture) for picture in row.pictures.values()], row.text) for row in shown[:TILES]]
    if len(heads) == 1:
        tiles = [(picture, text) for (picture,), text in rows]
        put(files[0], png(captioned_sheet(f"{title}: {heads[0]}", tiles, lines=LINES)))
    else:
        put(files[0], png(picture_grid(title, heads, rows[:ROWS])))
    for row, stem in zip(shown, file_names([row.name for row in shown], ""), strict=True):
        for what, picture in row.pictures.items():
            files.append(f"{setting}/{stem}-{slug(what)}.png")
            put(files[-1], png(to_image(_bytes(picture))))
    return tuple(files)


def _bytes(picture: Tensor) -> Tensor:
    return (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
