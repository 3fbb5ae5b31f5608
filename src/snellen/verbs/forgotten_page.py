"""forget.html: what a classifier forgot and how well, a self-contained page under a strict content security policy."""

from __future__ import annotations

import base64
import hashlib
import json

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from snellen.core import package
from snellen.verbs.forgotten_set import RETRAINED, ForgottenSet
from snellen.version import __version__

#: Titles of columns, and the figures below them.
COLUMNS = {
    "forgotten": "unlearning",
    "non-members": "membership",
    "separation": "separation",
    "remaining right": "remaining",
    "test right": "test",
}


def render_forgotten(made: ForgottenSet) -> str:
    """Render the page; every name in it is data and is escaped."""
    style = "".join(map(package.text, ("auditing/templates/parts.css", "verbs/templates/treated.css")))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(package.text("verbs/templates/forgotten.html.j2"))
    return template.render(
        made=made,
        name=made.plan["model"]["name"],
        verdict=verdict(made),
        columns=COLUMNS,
        attacked=any(row.likelihood is not None for row in made.rows),
        method=json.dumps(made.method, sort_keys=True),
        version=__version__,
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )


def verdict(made: ForgottenSet) -> str:
    """How far the network is from one that never saw the images, in a sentence or two."""
    name = str(made.method["setting"])
    own = made.row(name)
    assert own is not None, "the method is judged beside the forget set"
    exact = made.row(RETRAINED)
    if exact is None:
        return (
            f"{own.figures.unlearning.value:.1%} of the forget images are wrong now. Exact retraining was not run, so "
            f"it is not known what a network that never saw them would do."
        )
    return (
        f"{own.figures.unlearning.value:.1%} of the forget images are wrong now; of a network that never saw them it "
        f"is {exact.figures.unlearning.value:.1%}. The mean gap to that network is {own.gap:.3f}."
    )
