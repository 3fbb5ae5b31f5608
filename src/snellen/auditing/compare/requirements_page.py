"""The table of requirements as one self-contained page, as a fragment for notebooks, and as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from snellen.auditing.html import content_hash
from snellen.auditing.markdown import plain, table
from snellen.core import package

if TYPE_CHECKING:
    from snellen.auditing.compare.required_cell import RequiredCell
    from snellen.auditing.compare.requirement import Verdict
    from snellen.auditing.compare.requirements_table import RequirementsTable

#: A sign for each verdict, so that none rests on a colour.
SIGNS: dict[Verdict, str] = {"met": "✓", "not met": "✗", "undecided": "?", "not measured": "–"}


def render_requirements(found: RequirementsTable) -> str:
    """Render the page; every name and text in it is data and is escaped."""
    style = package.text("auditing/compare/templates/requirements.css")
    return (
        _environment()
        .get_template("page")
        .render(
            table=found,
            style=Markup(style),  # noqa: S704 - our own file
            style_hash=content_hash(style),
        )
    )


def render_fragment(found: RequirementsTable) -> str:
    """The table alone, with its style, for a notebook."""
    style = package.text("auditing/compare/templates/requirements.css")
    inner = _environment().get_template("table").render(table=found)
    return f'<style>{style}</style><div class="requirements"><p>{Markup.escape(found.verdict)}</p>{inner}</div>'


def render_linked(
    found: RequirementsTable, model_address: Callable[[int], str], cell_address: Callable[[int, int], str]
) -> str:
    """The table and all that explains it, without style, for a page that has the runs beside it.

    Args:
        found: the table.
        model_address: of a model's run, by its place; empty: none.
        cell_address: of the figure of a requirement, by its place, with a model, by its place; empty: none.
    """
    environment = _environment()
    environment.globals |= {"model_address": model_address, "cell_address": cell_address}
    return "".join(environment.get_template(name).render(table=found) for name in ("table", "more"))


def _environment() -> Environment:
    folder = "auditing/compare/templates"
    loader = DictLoader(
        {
            "page": package.text(f"{folder}/requirements.html.j2"),
            "table": package.text(f"{folder}/requirements_table.html.j2"),
            "more": package.text(f"{folder}/requirements_more.html.j2"),
        }
    )
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"verdicts": tuple(SIGNS), "sign": SIGNS.__getitem__, "seen": seen_words, "hint": hint_words}
    environment.globals |= {"model_address": lambda _: "", "cell_address": lambda *_: ""}
    return environment


def seen_words(cell: RequiredCell) -> str:
    """The value with its interval; empty where nothing was measured.

    >>> from snellen.auditing.compare.required_cell import RequiredCell
    >>> seen_words(RequiredCell(verdict="met", value=0.93, low=0.91, high=0.95, reason=""))
    '0.930 (0.910 – 0.950)'
    """
    if cell.value is None and cell.low is None:
        return ""
    if cell.low is None and cell.high is None:
        return f"{cell.value:g}"
    ends = [f"{end:.3f}" if end is not None else sign for end, sign in ((cell.low, "–∞"), (cell.high, "∞"))]
    value = "" if cell.value is None else f"{cell.value:.3f} "
    if cell.quantity == "loss":
        value = f"loss {value}"
    return f"{value}({ends[0]} – {ends[1]})"


def hint_words(cell: RequiredCell) -> str:
    """What would decide an undecided requirement; empty of any other."""
    if cell.verdict != "undecided":
        return ""
    if cell.images is not None:
        return f"about {cell.images:,} images decide"
    return "only very many images decide" if cell.value is not None else cell.reason


def requirements_markdown(found: RequirementsTable) -> str:
    """Render as GitHub-flavoured Markdown; texts from files are escaped."""
    head = ("id", "requirement", *(plain(model.name) for model in found.models))
    rows = [
        (row.id, f"{row.text} ({row.metric}{f'; {row.source}' if row.source else ''})", *map(_cell_words, row.cells))
        for row in found.rows
    ]
    counts = [
        (model.name, *(str(model.counts[verdict]) for verdict in SIGNS), str(model.images), model.data)
        for model in found.models
    ]
    lines = [f"# {plain(found.title)}", "", f"**{plain(found.verdict)}**", "", *table(head, rows), ""]
    lines += ["## Models", "", *table(("model", *SIGNS, "images", "data"), counts), ""]
    if found.not_measured:
        lines += ["## Not measured", ""]
        for row, model, cell in found.not_measured:
            command = f": `{_code(cell.command)}`" if cell.command else ""
            lines.append(f"- {plain(row.id)}, {plain(model.name)}: {plain(cell.reason)}{command}")
        lines.append("")
    lines += ["## How to read this", "", *(f"- {plain(note)}" for note in found.notes)]
    return "\n".join(lines) + "\n"


def _cell_words(cell: RequiredCell) -> str:
    parts = f"{SIGNS[cell.verdict]} {cell.verdict}", seen_words(cell), hint_words(cell)
    return ", ".join(part for part in parts if part)


def _code(command: str) -> str:
    return " ".join(command.replace("`", "'").split())
