"""Pages from templates: everything in them that comes from a run is data and is escaped."""

from __future__ import annotations

import base64
import hashlib
import time
from functools import cache

from jinja2 import Environment, FunctionLoader, StrictUndefined

from snellen.core import package
from snellen.core.budget import time_words
from snellen.data.files.contained_file import printable

#: Files that pages load, with their types. No other name leads to a file.
STATIC = {
    "desk.css": ("desk/static/desk.css", "text/css; charset=utf-8"),
    "desk.js": ("desk/static/desk.js", "text/javascript; charset=utf-8"),
    "images.js": ("desk/static/images.js", "text/javascript; charset=utf-8"),
    "review.js": ("desk/static/review.js", "text/javascript; charset=utf-8"),
    "embedded.js": ("desk/static/embedded.js", "text/javascript; charset=utf-8"),
    "notebook.js": ("desk/static/notebook.js", "text/javascript; charset=utf-8"),
    "requirements.css": ("auditing/compare/templates/requirements.css", "text/css; charset=utf-8"),
    "parts.css": ("auditing/templates/parts.css", "text/css; charset=utf-8"),
}


def render(template: str, **values: object) -> bytes:
    """A page as UTF-8; what UTF-8 cannot hold, as in a file name of undecodable bytes, is replaced."""
    page: str = _environment().get_template(template).render(**values)
    return page.encode("utf-8", "replace")


@cache
def static(name: str) -> bytes:
    """The content of one of :data:`STATIC`."""
    return package.content(STATIC[name][0])


@cache
def version_of(name: str) -> str:
    """What changes the address of a file when its content changes, so that browsers may keep it."""
    return hashlib.sha256(static(name)).hexdigest()[:10]


def style_source(text: str) -> str:
    """What a content security policy calls a style by.

    >>> style_source("")
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


#: The same of a script.
script_source = style_source


def ago(seconds: float) -> str:
    """How long ago something was, in words.

    >>> ago(30), ago(150), ago(7200), ago(200_000)
    ('just now', '2 minutes ago', '2 hours ago', '2 days ago')
    """
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: package.text(f"desk/templates/{name}")),
    )
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    environment.filters["ago"] = lambda at: ago(max(time.time() - at, 0.0)) if at else "unknown"
    environment.filters["moment"] = lambda at: time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else ""
    environment.filters["duration"] = time_words
    environment.filters["words"] = lambda text: str(text).replace("_", " ")
    environment.filters["printable"] = lambda path: printable(str(path))
    environment.globals["version_of"] = version_of
    return environment
