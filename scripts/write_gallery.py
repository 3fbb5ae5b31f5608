"""Run audits of installable and bundled images, and write docs/gallery.md: their findings, pictures and commands.

    python scripts/write_gallery.py               all
    python scripts/write_gallery.py clothes       one audit; the others keep what they have

Needs Debian's ``dataset-fashion-mnist``. Titles and figures may differ in the last digits with the processor.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from PIL import Image, ImageDraw, ImageFont
from tutorial_cells import write_picture
from write_tables import with_block

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURES, MEASURED = DOCS / "gallery.md", DOCS / "pictures" / "gallery", DOCS / "measured" / "gallery.json"

#: Side of an image, space around it, height of a line of text; pixels.
SIDE, GAP, LINE = 112, 8, 16


@dataclass(frozen=True)
class Shown:
    """A finding that the gallery shows.

    Attributes:
        kind: of the finding; the first of this kind in the report is shown.
        heading: above it.
        sentence: what a reader sees in the pictures.
    """

    kind: str
    heading: str
    sentence: str


@dataclass(frozen=True)
class Audit:
    """A command, and which of its findings are shown."""

    name: str
    command: str
    shown: tuple[Shown, ...]


AUDITS = (
    Audit(
        "clothes",
        "snellen audit bundled:fashion-cnn known:fashion-mnist --limit 3000 --checks clean,slices --out clothes",
        (
            Shown(
                "worst_class", "A class that is served worse", "Images of the class that were taken for another one."
            ),
            Shown(
                "slice", "A subgroup that no column names", "One half of the images proposed it, the other confirmed."
            ),
        ),
    ),
    Audit(
        "damage",
        "snellen audit bundled:fashion-cnn bundled:fashion-mnist --limit 200 --checks clean,corruption,adversarial "
        '--threat linf:8/255 --set \'corruption.kinds=["low_resolution", "contrast"]\' --out damage',
        (
            Shown("corruption", "Damage under which it breaks", "Each pair: an image as it is, and when it was lost."),
            Shown("adversarial", "Small changes of every pixel", "Each pair: an image, and the same image attacked."),
        ),
    ),
)


def main(names: Sequence[str]) -> None:
    """Run the audits of these names, all where none is given, and write the page.

    Raises:
        SystemExit: no audit has such a name.
    """
    unknown = set(names) - {audit.name for audit in AUDITS}
    if unknown:
        raise SystemExit(f"no audit {', '.join(sorted(unknown))}; known: {', '.join(audit.name for audit in AUDITS)}")
    kept = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else {}
    PICTURES.mkdir(parents=True, exist_ok=True)
    for audit in AUDITS:
        if not names or audit.name in names:
            kept[audit.name] = measured(audit)
    MEASURED.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_block(text, "gallery", gallery(kept), "docs/gallery.md"), encoding="utf-8")


def measured(audit: Audit) -> dict[str, object]:
    """Run an audit and draw its findings.

    Raises:
        SystemExit: the command failed, or its report lacks a finding that is to be shown.
    """
    import snellen
    from snellen.cli import main as command_line

    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        with patch("sys.argv", shlex.split(audit.command)):
            try:
                command_line()
            except SystemExit as ended:
                if ended.code:
                    raise
        report = snellen.open_report(audit.name)
        pictures, found = report.pictures(), []
        print(audit.name, [(finding.kind, finding.title) for finding in report.findings], flush=True)
        for shown in audit.shown:
            finding = next((one for one in report.findings if one.kind == shown.kind), None)
            if finding is None:
                raise SystemExit(f"{audit.name}: no finding of the kind {shown.kind}")
            examples = [
                ([pictures[name] for name in (one.image, one.after) if name in pictures], one.caption)
                for one in finding.examples
            ]
            file = PICTURES / f"{audit.name}-{shown.kind}.png"
            write_picture(strip([one for one in examples if one[0]][:8]), file)
            found.append({"kind": shown.kind, "title": finding.title, "level": finding.level, "harm": finding.harm})
    return {"command": audit.command, "findings": found}


def strip(examples: Sequence[tuple[Sequence[bytes], str]]) -> Image.Image:
    """Examples side by side on white, which is legible on light and dark pages, with their captions."""
    wide = max(len(files) for files, _ in examples)
    columns = max(1, min(len(examples), 8 // wide))
    cell = (wide * SIDE + (wide - 1) * 2 + GAP, SIDE + LINE + GAP)
    rows = -(-len(examples) // columns)
    sheet = Image.new("RGB", (columns * cell[0] + GAP, rows * cell[1] + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (files, caption) in enumerate(examples):
        left, top = GAP + number % columns * cell[0], GAP + number // columns * cell[1]
        for place, file in enumerate(files):
            picture = Image.open(io.BytesIO(file)).convert("RGB")
            picture = picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)
            sheet.paste(picture, (left + place * (SIDE + 2), top))
        text = caption.rpartition(": ")[2].replace("→", "->")
        draw.text((left, top + SIDE + 1), text, "black", fitting_font(text, cell[0] - GAP))
    return sheet


def fitting_font(text: str, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The largest legible font in which a caption is no wider than ``width`` pixels.

    Raises:
        ValueError: the text is too long for the smallest.
    """
    for size in (11, 10, 9):
        font = ImageFont.load_default(size)
        if font.getlength(text) <= width:
            return font
    raise ValueError(f"{text!r} is wider than {width} pixels: show fewer images in a row")


def gallery(kept: dict[str, dict[str, object]]) -> str:
    """The generated part of the page."""
    parts = []
    for audit in AUDITS:
        for shown, finding in zip(audit.shown, kept[audit.name]["findings"], strict=True):  # type: ignore[arg-type]
            title = finding["title"].replace("|", "&#124;")
            parts += [
                f"## {shown.heading}",
                "",
                f"![{shown.heading}](pictures/gallery/{audit.name}-{shown.kind}.png)",
                "",
                f"**{title}** ({finding['level']}, harm at least {finding['harm']:.1%}). {shown.sentence}",
                "",
                f"`{audit.command}`",
                "",
            ]
    return "\n".join(parts).rstrip()


if __name__ == "__main__":
    main(sys.argv[1:])
