"""explain.html: one self-contained page that opens from disk, offline, under a strict content security policy."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from snellen.core import package
from snellen.core.evidence import Evidence
from snellen.verbs.explained_batches import CONTROL, FIGURE, HEADS, PICTURES
from snellen.verbs.explained_set import ExplainedSet

PAGE = "explain.html"

#: Bytes of all pictures in the page as base64, rows of one method, and parts of one image that are listed.
PICTURE_BYTES, ROWS, BARS = 6_000_000, 200, 10

#: Up to this side, pixels are shown as squares and stored without loss.
_PIXELS_SHOWN = 64


def render_explanations(
    explained: ExplainedSet, rows: Mapping[str, Iterable[Evidence]], class_names: Sequence[str]
) -> str:
    """Render the page; every name in it is data and is escaped.

    Args:
        explained: the record.
        rows: evidence of each setting with its pictures, in pieces; read no further than the page shows.
        class_names: of the classifier.
    """
    style = package.text("runs/templates/explain.css")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["figure"] = lambda value: f"{value:.3g}"
    template = environment.from_string(package.text("verbs/templates/explain.html.j2"))
    budget = PICTURE_BYTES // max(len(rows), 1)
    return template.render(
        explained=explained,
        of_images=any(explained.settings[name].of == "images" for name in rows),
        blocks=[
            {"name": name, "figures": explained.settings[name], **_shown(pieces, class_names, budget)}
            for name, pieces in rows.items()
        ],
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )


def _shown(pieces: Iterable[Evidence], class_names: Sequence[str], budget: int) -> dict[str, Any]:
    """The rows of one method that are shown, with the pictures that fit; how many are left out, or lack theirs."""
    shown: list[dict[str, Any]] = []
    left, bare, spent = 0, 0, 0
    for piece in pieces:
        for row in piece.table.to_pylist():
            if len(shown) == ROWS:
                left += 1
                continue
            given, pictures = list(zip(row.get(HEADS) or [], row.get(PICTURES) or [], strict=True)), []
            if spent <= budget:
                pictures = [_embedded(*one) for one in given]
                spent += sum(len(picture["source"]) for picture in pictures)
            fits = spent <= budget
            bare += bool(given) and not fits
            shown.append({**_words(row, class_names), "pictures": pictures if fits else []})
    return {"rows": shown, "left": left, "bare": bare}


def _words(row: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, Any]:
    """The text of the page about one image or part."""
    figures = [(name, name.removeprefix(FIGURE)) for name in row if name.startswith(FIGURE)]
    facts = []
    for column, name in figures:
        if row[column] is not None:
            control = row.get(f"{CONTROL}{name}")
            facts.append((name, f"{row[column]:.3g}" + ("" if control is None else f" (random: {control:.3g})")))
    if row.get("x") is not None:
        facts.append(("points at", f"x {row['x']:.1f}, y {row['y']:.1f}"))
    return {
        "id": row["example_id"],
        "decision": _decision(row, class_names),
        "text": row["text"],
        "reason": row["reason"],
        "bars": _bars(row),
        "facts": facts,
    }


def _decision(row: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """What the image is taken for and what it is, in words; empty for a part of a model."""
    if row.get("target") is None:
        return ""
    target, taken = row["target"], row["prediction"]
    line = f"{class_names[target]}" + ("" if row["value"] is None else f", probability {row['value']:.3f}")
    if taken is not None and taken != target:
        line += f"; taken for {class_names[taken]}"
    if row["label"] is not None and taken is not None:
        line += "; right" if row["label"] == taken else f"; wrong, it is {class_names[row['label']]}"
    return line


def _bars(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parts that contribute most, either way; names of parts stand in the record."""
    scores, names = row.get("scores"), row.get("parts")
    if not scores or not names:
        return []
    known = [(name, score) for name, score in zip(names, scores, strict=True) if score]
    largest = max((abs(score) for _, score in known), default=0.0)
    chosen = sorted(known, key=lambda one: -abs(one[1]))[:BARS]
    bars = []
    for name, score in chosen:
        length = 100 * abs(score) / largest
        bars.append(
            {"name": name, "score": score, "start": f"{0 if score >= 0 else -length:.1f}", "length": f"{length:.1f}"}
        )
    return bars


def _embedded(head: str, content: bytes) -> dict[str, Any]:
    """A PNG file of ours as WebP in base64."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        size = picture.size
        picture.save(stream, "WEBP", lossless=max(size) <= _PIXELS_SHOWN, quality=85, method=4)
    look = "pixels" if max(size) <= _PIXELS_SHOWN else "smooth"
    source = base64.b64encode(stream.getvalue()).decode()
    return {"head": head, "source": source, "look": look, "width": size[0], "height": size[1]}
