"""A form as a file: Markdown, or one self-contained page that opens from disk, offline, and is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from snellen.auditing.forms.form import FOR_THE_AUTHOR, NOT_MEASURED, Filled, as_markdown, fill, form_named
from snellen.auditing.html import content_hash
from snellen.auditing.legal_text import legal_text
from snellen.core import package
from snellen.core.errors import InputError
from snellen.core.run import write_atomically

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport


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


_OF_OTHER_PROGRAMS = (".pdf", ".doc", ".docx", ".odt", ".rtf")


def write_form(report: AuditReport, form: str, file: Path | str | None = None) -> str:
    """The form, also written to a file: a page if the file ends in .html or .htm, else Markdown.

    Raises:
        UnknownNameError: there is no such form.
        InputError: the file ends like a document of another program, which could not open it.
    """
    ending = "" if file is None else Path(file).suffix.lower()
    if ending in _OF_OTHER_PROGRAMS:
        raise InputError(f"{file}: {form} is written as Markdown or as a page; end the file in .md or .html")
    filled = fill(report, form_named(form))
    paged = ending in (".html", ".htm")
    text = as_page(filled) if paged else as_markdown(filled)
    if file is not None:
        # A file name of undecodable bytes holds characters that UTF-8 cannot hold.
        write_atomically(Path(file), text.encode("utf-8", "replace"))
    return text
