"""What an attack on the camera shows: maps over azimuth and elevation, sheets of views, and a page of both."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from snellen.core import package
from snellen.core.errors import RejectedImageError
from snellen.core.evidence import Evidence
from snellen.data.worlds.viewpoints import RecordedRenderer
from snellen.runs.picture_grid import picture_grid
from snellen.runs.whole_file import whole_file
from snellen.systems.viewpoints.attacked_view_set import NATURAL, RANDOM, AttackedObject, AttackedViewSet
from snellen.systems.viewpoints.seen_objects import viewpoints_in
from snellen.systems.viewpoints.view_map import map_picture, view_map

PAGE = "attack.html"

#: Bytes of all pictures in the page as base64.
PICTURE_BYTES = 6_000_000


def render_view_page(found: AttackedViewSet, pictures: Mapping[str, Image.Image]) -> str:
    """Render the page; every name in it is data and is escaped.

    Args:
        found: the record.
        pictures: maps and sheets by the name of their file; those that would make the page too large are named only.
    """
    style = package.text("runs/templates/explain.css")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["share"] = lambda value: "–" if value is None else f"{value:.1%}"
    template = environment.from_string(package.text("systems/viewpoints/templates/views.html.j2"))
    embedded: dict[str, dict[str, object]] = {}
    spent, left = 0, []
    for name, picture in pictures.items():
        stream = io.BytesIO()
        picture.save(stream, "WEBP", lossless=name.startswith("map-"), quality=82, method=4)
        source = base64.b64encode(stream.getvalue()).decode()
        if spent + len(source) > PICTURE_BYTES:
            left.append(name)
            continue
        spent += len(source)
        embedded[name] = {"source": source, "width": picture.width, "height": picture.height}
    credits = {
        one.object_id: one.credit for figures in found.settings.values() for one in figures.objects if one.credit
    }
    return template.render(
        found=found,
        pictures=embedded,
        left=left,
        credits=credits,
        found_files=lambda setting: [name for name in pictures if name.startswith(f"sheet-{setting}-")],
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )


#: Columns of a sheet: natural views, then fresh ones of the attack; objects on a sheet, and sheets of a setting.
NATURAL_SHOWN, ATTACKED_SHOWN, ON_A_SHEET, SHEETS = 3, 3, 8, 6


def write_view_pictures(found: AttackedViewSet, renderer: RecordedRenderer, folder: Path, *, sheets: bool) -> list[str]:
    """Write maps, sheets and the page; names of files, relative to the folder.

    Args:
        found: the record, with its evidence.
        renderer: draws the objects again: evidence holds viewpoints, not pictures.
        folder: of the attack.
        sheets: whether pictures of objects are written.
    """
    assert found.evidence is not None
    files: dict[str, Image.Image] = {}
    random = found.evidence.where(setting=RANDOM, status="ok")
    if len(random):
        files["map-random.png"] = accuracy_map(random, "Right decisions on random views")
    for name, figures in found.settings.items():
        rows = found.evidence.where(setting=name, status="ok")
        if len(rows):
            files[f"map-{name}.png"] = density_map(rows, f"Where the views of {name} lie")
        if sheets:
            ranked = sorted(figures.objects, key=_harm)
            for number, start in enumerate(range(0, min(len(ranked), ON_A_SHEET * SHEETS), ON_A_SHEET), 1):
                part = ranked[start : start + ON_A_SHEET]
                files[f"sheet-{name}-{number}.png"] = sheet(part, found.evidence, name, renderer)
    for file, picture in files.items():
        stream = io.BytesIO()
        picture.save(stream, "PNG", optimize=False)
        with whole_file(folder / file) as output:
            output.write(stream.getvalue())
    with whole_file(folder / PAGE) as output:
        output.write(render_view_page(found, files).encode())
    return [PAGE, *files]


def accuracy_map(rows: Evidence, title: str) -> Image.Image:
    """Share of right decisions by azimuth and elevation."""
    mapped = view_map(viewpoints_in(rows), rows.table["right"].to_pylist(), rows.table["unit_id"].to_pylist())
    return map_picture(mapped.means, mapped.azimuths, mapped.elevations, title)


def density_map(rows: Evidence, title: str) -> Image.Image:
    """Share of all views by azimuth and elevation."""
    mapped = view_map(viewpoints_in(rows), [1.0] * len(rows), rows.table["unit_id"].to_pylist())
    shares = mapped.views / max(int(mapped.views.sum()), 1)
    return map_picture(shares, mapped.azimuths, mapped.elevations, title, full=float(shares.max()))


def sheet(
    objects: Sequence[AttackedObject], evidence: Evidence, setting: str, renderer: RecordedRenderer
) -> Image.Image:
    """Natural views of objects beside views that the attack found, successful ones first."""
    heads = ["natural view"] * NATURAL_SHOWN + ["view of the attack"] * ATTACKED_SHOWN
    rows: list[tuple[Sequence[Tensor], tuple[str, ...]]] = []
    for one in objects:
        own = [evidence.where(setting=name, unit_id=one.object_id, status="ok") for name in (NATURAL, setting)]
        success = np.array(own[1].table["success"].to_pylist(), dtype=bool)
        order = np.argsort(~success, kind="stable")[:ATTACKED_SHOWN]
        chosen = [viewpoints_in(own[0])[:NATURAL_SHOWN], viewpoints_in(own[1])[order.tolist()]]
        try:
            natural, attacked = (_seen(renderer, one.object_id, viewpoints) for viewpoints in chosen)
        except RejectedImageError:
            continue
        blank = torch.full((3, renderer.size, renderer.size), 255, dtype=torch.uint8)
        pictures = [
            *natural,
            *[blank] * (NATURAL_SHOWN - len(natural)),
            *attacked,
            *[blank] * (ATTACKED_SHOWN - len(attacked)),
        ]
        rows.append((pictures, caption_lines(one)))
    return picture_grid(f"{setting}: natural views, and views of what it found, those that fool first", heads, rows)


def caption_lines(one: AttackedObject) -> tuple[str, ...]:
    """An object and its figures in one line, and whom to thank for it in another."""
    shares = ", ".join(
        f"{'–' if value is None else f'{value:.0%}'} {name}"
        for value, name in ((one.natural, "natural"), (one.random, "random"), (one.attacked, "under attack"))
    )
    taken = "" if one.taken_for is None else f"; taken for {one.taken_for.partition(',')[0]}"
    line = f"{one.object_id} ({one.class_name.partition(',')[0]}): right in {shares}{taken}"
    return (line, one.credit) if one.credit else (line,)


def _seen(renderer: RecordedRenderer, object_id: str, viewpoints: Tensor) -> list[Tensor]:
    if not len(viewpoints):
        return []
    images = renderer.render(object_id, viewpoints)[0]
    return list(images.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8))


def _harm(one: AttackedObject) -> tuple[float, str]:
    """Objects that lose most come first."""
    before, after = one.natural or 0.0, 1.0 if one.attacked is None else one.attacked
    return (after - before, one.object_id)
