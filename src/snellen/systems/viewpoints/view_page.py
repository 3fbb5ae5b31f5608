"""attack.html of an attack on the camera: one self-contained page under a strict content security policy."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from snellen.core import package
from snellen.systems.viewpoints.attacked_view_set import AttackedViewSet

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
