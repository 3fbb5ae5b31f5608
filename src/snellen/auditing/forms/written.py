"""A form as a file: a page, or Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from snellen.auditing.forms.form import as_markdown, fill, form_named
from snellen.auditing.forms.page import as_page
from snellen.core.errors import InputError
from snellen.core.run import write_atomically

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport

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
