"""A form as one self-contained page that opens from disk, offline, and is printed: for those who read no Markdown."""

from __future__ import annotations

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from snellen.auditing.forms.form import FOR_THE_AUTHOR, NOT_MEASURED, Filled
from snellen.auditing.html import content_hash
from snellen.auditing.legal_text import legal_text
from snellen.core import package


def as_page(filled: Filled) -> str:
    """The form as a page, without what only a model hub reads; every name in it is data and is escaped."""
    style = "".join(map(package.text, ("auditing/templates/parts.css", "auditing/forms/templates/form.css")))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    template = environment.from_string(package.text("auditing/forms/templates/form.html.j2"))
    return template.render(
        filled=filled,
        form=filled.form,
        for_the_author=FOR_THE_AUTHOR,
        not_measured=NOT_MEASURED,
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=content_hash(style),
    )


def _shown(value: object) -> object:
    """Text without characters that pages cannot show."""
    return legal_text(value) if type(value) is str else value
