"""The site of these documents, built by ``scripts/build_site.py`` (extra ``docs``); no page needs a network."""

from __future__ import annotations

import re
from pathlib import Path

from snellen.version import __version__

project, author, release = "Snellen", "The Snellen authors", __version__
copyright = "The Snellen authors, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["examples", "measured", "schemas/*.json", "_build"]

myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
# The README of a folder is read where it lies, too: its links lead to files.
suppress_warnings = ["myst.header", "myst.strikethrough"]

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "Snellen"
html_static_path: list[str] = []
html_show_sourcelink = False
html_copy_source = False
templates_path: list[str] = []
highlight_language = "none"


def _linked(_app: object, docname: str, source: list[str]) -> None:
    """Links out of ``docs`` become links to the copies of those pages, or plain text where there is none."""
    text = re.sub(r"\]\((?:\.\./)+(CONTRIBUTING|SECURITY|CHANGELOG)\.md", r"](/project/\1.md", source[0])
    source[0] = re.sub(r"\[([^\]]*)\]\((?:\.\./)+(?:src|scripts|tests|benchmarks|fuzzing|results)[^)]*\)", r"\1", text)
    if docname.count("/") == 0:
        source[0] = re.sub(r"\[([^\]]*)\]\((?:examples|measured)/[^)]*\)", r"\1", source[0])


#: What the theme leaves out for readers who use keys or a screen reader: pattern → replacement.
_MENDED = {
    r'(<p class="caption" role="heading")>': r'\1 aria-level="2">',
    r'<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="All pages">',
    r'<aside class="(toc-drawer[^"]*)">': r'<aside class="\1" aria-label="On this page">',
    r"<pre>": '<pre tabindex="0">',
    r'<div class="(table-wrapper[^"]*)">': r'<div class="\1" tabindex="0" role="group" aria-label="Table">',
    r'<th class="(head[^"]*)"><p></p></th>': r'<td class="\1"></td>',
    r'(<div id="search-results">)': r"<h1>Search</h1>\1",
}


def accessible(page: str) -> str:
    """A page of the theme with names for its parts, and with scrolled parts that keys can reach."""
    for pattern, replacement in _MENDED.items():
        page = re.sub(pattern, replacement, page)
    return page


def _finish(app: object, error: Exception | None) -> None:
    for path in Path(app.outdir).rglob("*.html") if error is None else ():  # type: ignore[attr-defined]
        path.write_text(accessible(path.read_text(encoding="utf-8")), encoding="utf-8")


def setup(app: object) -> None:
    """Mend links that lead out of the folder, and what the theme leaves out."""
    app.connect("source-read", _linked)  # type: ignore[attr-defined]
    app.connect("build-finished", _finish)  # type: ignore[attr-defined]
