"""Files about trajectories: the manifest of those that are kept, the list of the others, and contact sheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from snellen.runs.picture_grid import picture_grid
from snellen.runs.safe_names import folder_names
from snellen.runs.settings import severity_name
from snellen.runs.whole_file import whole_file
from snellen.systems.continuous_nuisance.nuisance_set import MANIFEST, REJECTED
from snellen.systems.continuous_nuisance.nuisance_work import NuisanceWork
from snellen.systems.continuous_nuisance.things import Thing

COLUMNS = ("path", "id", "label", "group", "unit_id", "caption", "attributes", "provenance")

#: Trajectories on a sheet that are kept, and that are not.
SHOWN, SHOWN_REJECTED = 6, 2


def write_manifests(work: NuisanceWork, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
    """Write the list of kept images, and that of rejected ones where there are any; returns their names.

    Ids are ``SHIFT/STRENGTH/CLASS/NUMBER``, the group is the shift, and the unit the thing: its images under all shifts
    and at all strengths have one noise.
    """
    written = []
    for name, kept in ((MANIFEST, True), (REJECTED, False)):
        chosen = [row for row in rows if (row["reason"] is None) == kept]
        if not chosen and not kept:
            continue
        with whole_file(folder / name) as stream:
            text = io.TextIOWrapper(stream, "utf-8", "backslashreplace", newline="")
            table = csv.writer(text)
            table.writerow(COLUMNS)
            for row in sorted(chosen, key=lambda row: work.concepts.index(row["concept"])):
                table.writerows(_images(work, row))
            text.detach()
        written.append(name)
    return written


def write_sheet(work: NuisanceWork, concept: str, rows: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """Draw trajectories of one shift, spread over the classes, and a few that the filter rejected; returns the name."""
    kept = [row for row in rows if row["reason"] is None]
    lost = [row for row in rows if row["reason"] is not None]
    chosen = [*_spread(kept, SHOWN), *_spread(lost, SHOWN_REJECTED)]
    pictures = [
        (
            [_read(work, row, strength, folder) for strength in work.method.strengths],
            str(row["class"]) if row["reason"] is None else f"{row['class']}, rejected: {row['reason']}",
        )
        for row in chosen
    ]
    name = f"contact-sheet-{folder_names([concept])[concept]}.png"
    heads = [f"strength {severity_name(strength)}" for strength in work.method.strengths]
    with whole_file(folder / name) as stream:
        picture_grid(f"{concept}  ({work.method.generator})", heads, pictures).save(stream, "PNG")
    return name


def _images(work: NuisanceWork, row: Mapping[str, Any]) -> list[list[str]]:
    thing = Thing(str(row["class"]), int(row["number"]))
    return [
        [
            work.path(row["concept"], strength, thing),
            f"{row['concept']}/{severity_name(strength)}/{thing.id}",
            thing.class_name,
            row["concept"],
            thing.id,
            *(row["told"][column][at] for column in ("caption", "attributes", "provenance")),
        ]
        for at, strength in enumerate(work.method.strengths)
    ]


def _spread(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """At most ``count`` rows: one of each class in turn."""
    turns: dict[str, int] = {}
    order = []
    for place, row in enumerate(rows):
        turns[row["class"]] = turns.get(row["class"], 0) + 1
        order.append((turns[row["class"]], place))
    return [rows[place] for _, place in sorted(order)[:count]]


def _read(work: NuisanceWork, row: Mapping[str, Any], strength: float, folder: Path) -> torch.Tensor:
    path = folder / work.path(row["concept"], strength, Thing(str(row["class"]), int(row["number"])))
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
