"""generator-failures.html: what was found and how often, with a picture of each case; a page without scripts."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from snellen.core import package
from snellen.systems.generator_failure.record import MODES, GeneratorFailures, cell
from snellen.version import __version__

#: Most cases on the page.
SHOWN = 60


def render(made: GeneratorFailures, folder: Path) -> str:
    """Render the page; prompts and names in it are data and are escaped."""
    style = package.text("runs/templates/explain.css")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["share"] = cell
    template = environment.from_string(package.text("systems/generator_failure/failures.html.j2"))
    pictures = {one.name: base64.b64encode((folder / one.files[1]).read_bytes()).decode() for one in made.cases[:SHOWN]}
    return template.render(
        made=made,
        cases=made.cases[:SHOWN],
        pictures=pictures,
        modes=MODES,
        version=__version__,
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
