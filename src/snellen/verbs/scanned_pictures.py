"""The pictures of a scan as files: one PNG for each, and a sheet of the first rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.outcomes import Shown
from snellen.core.preparation import to_image
from snellen.runs.measuring import Put
from snellen.runs.picture_grid import picture_grid
from snellen.runs.safe_names import file_names, slug
from snellen.runs.thumbnails import png

#: Rows of a sheet, at most.
ROWS = 12


def write_pictures(shown: Sequence[Shown], setting: str, title: str, put: Put) -> tuple[str, ...]:
    """Write ``SETTING/NAME-WHAT.png`` for every picture, and ``sheet-SETTING.png``.

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
    rows = [([_bytes(picture) for picture in row.pictures.values()], row.text) for row in shown[:ROWS]]
    put(files[0], png(picture_grid(title, heads, rows)))
    for row, stem in zip(shown, file_names([row.name for row in shown], ""), strict=True):
        for what, picture in row.pictures.items():
            files.append(f"{setting}/{stem}-{slug(what)}.png")
            put(files[-1], png(to_image(_bytes(picture))))
    return tuple(files)


def _bytes(picture: Tensor) -> Tensor:
    return (picture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
