"""Write what is public, for the test that compares it: ``python scripts/write_public_lists.py``.

``tests/public_names.txt`` holds the names that the packages export and the methods that the facades offer,
``tests/public_options.txt`` the arguments and options of every command. CONTRIBUTING.md, "Stability", says what a
removed line needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from snellen.cli.app import app
from snellen.core import index

FOLDER = Path(__file__).parents[1] / "tests"

PACKAGES = (
    "snellen",
    "snellen.methods.attacks.perturbation",
    "snellen.metrics.sweep",
    "snellen.testing",
    "snellen.training",
)


def public_names() -> list[str]:
    """Every exported name with its package, and every method with its facade, sorted."""
    exported = [f"{package}.{name}" for package in PACKAGES for name in importlib.import_module(package).__all__]
    offered = [f"snellen.{area}.{entry.class_name}" for area in index.AREAS for entry in index.methods(area).values()]
    return sorted({*exported, *offered})


def public_options() -> list[str]:
    """Every command, a line each, with its arguments in order and its options sorted."""
    return sorted(_commands("snellen", typer.main.get_command(app), None))


def _commands(path: str, command: Any, parent: Any) -> Iterator[str]:  # noqa: ANN401 - typer's types are private
    context = type(command).context_class(command, info_name=path, parent=parent)
    arguments = [(one.metavar or one.name).upper() for one in command.params if one.param_type_name == "argument"]
    options = [
        spelling
        for one in command.params
        if one.param_type_name == "option"
        for spelling in (*one.opts, *one.secondary_opts)
    ]
    yield " ".join([f"{path}:", *arguments, *sorted(options)])
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            # Commands of methods are made when they are used.
            _, used, _ = command.resolve_command(context, [name])
            yield from _commands(f"{path} {name}", used, context)


def main() -> None:
    """Write both lists."""
    for name, lines in (("public_names.txt", public_names()), ("public_options.txt", public_options())):
        (FOLDER / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
