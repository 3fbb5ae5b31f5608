"""Pages that are written when the site is built: every public name, every command, and the pages of the root folder."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schema_reference import record_pages

import snellen

#: Rooms from which methods are imported, and what is in them.
ROOMS = {
    "attacks": "Attacks",
    "certificates": "Certificates",
    "explanations": "Explanations",
    "forgetting": "Forgetting",
    "generation": "Generation",
    "recipes": "Training recipes",
    "scans": "Scans",
    "shifts": "Shifts",
    "synthesis": "Generated training images",
    "treatments": "Treatments",
    "worlds": "Worlds with known truth",
}


def write_reference(docs: Path, root: Path) -> None:
    """Write ``reference/NAME.md``, ``reference/records/NAME.md`` and ``project/NAME.md``.

    Args:
        docs: folder of pages, which gets them.
        root: folder with CONTRIBUTING.md, SECURITY.md and CHANGELOG.md.
    """
    reference, project = docs / "reference", docs / "project"
    for folder in (reference, project):
        folder.mkdir(exist_ok=True)
    _write(reference / "python.md", "\n".join(python_page()))
    for room, title in ROOMS.items():
        _write(reference / f"{room}.md", "\n".join(room_page(room, title)))
    _write(reference / "commands.md", "\n".join(commands_page()))
    (reference / "records").mkdir(exist_ok=True)
    for name, page in record_pages().items():
        _write(reference / "records" / f"{name}.md", page)
    for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG"):
        _write(project / f"{name}.md", root_page((root / f"{name}.md").read_text(encoding="utf-8")))


def python_page() -> Iterator[str]:
    """Verbs, loaders and objects of the package."""
    yield "# Python\n\nEverything here is imported from `snellen`.\n"
    for name in snellen.__all__:
        if not name.startswith("__"):
            yield directive(f"snellen.{name}", getattr(snellen, name))


def room_page(room: str, title: str) -> Iterator[str]:
    """The methods of a room, each with its parameters."""
    module = importlib.import_module(f"snellen.{room}")
    yield f"# {title}\n\n`from snellen.{room} import NAME`\n"
    for name in dir(module):
        found = getattr(module, name)
        yield f"## {name}\n\n{parameters_of(found)}"
        yield directive(f"snellen.{room}.{name}", found)


def directive(path: str, found: object) -> str:
    """What documents one object by its docstring; fields of a method stand in a table of their own."""
    kind = "autoclass" if inspect.isclass(found) else "autofunction" if callable(found) else "autodata"
    options = "   :no-index:\n   :no-members:\n" if kind == "autoclass" else "   :no-index:\n"
    return f"```{{eval-rst}}\n.. {kind}:: {path}\n{options}```\n"


def parameters_of(kind: Any) -> str:  # noqa: ANN401 - a class of any kind
    """A table of the fields of a model: name, default, meaning; empty where it has none."""
    fields = getattr(kind, "model_fields", {})
    if not fields:
        return ""
    rows = ["| parameter | default | meaning |", "|---|---|---|"]
    for name, field in fields.items():
        default = (
            "required" if field.is_required() else f"`{_cell(repr(field.get_default(call_default_factory=True)))}`"
        )
        rows.append(f"| `{name}` | {default} | {_cell(field.description or '')} |")
    return "\n".join(rows) + "\n"


def commands_page() -> Iterator[str]:
    """Every command, from the parser that reads it."""
    from typer.main import get_command

    from snellen.cli.app import app

    yield "# Commands\n\nWhat `--help` prints. Options that many commands share stand with each.\n"
    yield from _commands("snellen", get_command(app))


def _commands(name: str, command: Any) -> Iterator[str]:  # noqa: ANN401 - of click
    context = command.context_class(command, info_name=name)
    if hasattr(command, "list_commands"):
        for child in command.list_commands(context):
            yield from _commands(f"{name} {child}", command.get_command(context, child))
        return
    summary = re.sub(r"\s+", " ", command.help or "")
    yield f"## {name}\n\n{summary}\n"
    rows = ["| option | meaning | default |", "|---|---|---|"]
    for parameter in command.params:
        if parameter.name == "help" or getattr(parameter, "hidden", False):
            continue
        shown = ", ".join(parameter.opts) if parameter.param_type_name == "option" else str(parameter.name).upper()
        default = getattr(parameter, "show_default", None)
        given = default if isinstance(default, str) else parameter.default
        plain = "" if given in (None, False, (), []) or callable(given) else str(given)
        rows.append(f"| `{shown}` | {_cell(getattr(parameter, 'help', '') or '')} | {_cell(plain)} |")
    yield "\n".join(rows) + "\n"


def root_page(text: str) -> str:
    """A page of the root folder, with its links to documents as seen from ``docs/project``."""
    text = re.sub(r"\]\(docs/([^)]+\.md(?:#[^)]*)?)\)", r"](../\1)", text)
    return re.sub(r"\[([^\]]*)\]\((?!\.\./|https?:|#|(?:CONTRIBUTING|SECURITY|CHANGELOG)\.md)[^)]*\)", r"\1", text)


def _cell(text: str) -> str:
    shown = re.sub(r"\s+", " ", text.strip())
    return shown.replace("|", "\\|").replace("<", "&lt;")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
