"""Tutorials and tasks as cells: what a page holds, how it is run, and the same as a notebook.

A page is Markdown. Its blocks of Python and of commands are cells; behind each stands what it printed or drew, between
markers, written by ``scripts/write_tutorials.py``. A block of Python may end in a picture, as in a notebook; its
description is the comment at the end of the block's last line.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

FOLDER = Path(__file__).parents[1] / "docs" / "tutorials"

#: Pages of tasks, whose outputs are made in the same way; they are no notebooks.
TASKS = FOLDER.parent / "tasks"

#: Largest picture, in bytes; one that is larger is written with fewer colours, and then refused.
PICTURE_BYTES = 60_000

_BLOCK = re.compile(
    r"^```(?P<language>python|)\n(?P<code>.*?)^```\n"
    r"(?:\n<!-- output-\d+:begin -->\n(?P<output>.*?)<!-- output-\d+:end -->\n)?",
    re.M | re.S,
)
_TEXT = re.compile(r"^```text\n(.*?)^```$", re.M | re.S)
_PICTURE = re.compile(r"^!\[(.*)\]\((pictures/[\w.-]+)\)$", re.M)
_MADE = re.compile(r"^<!-- made of (\w+) -->\n", re.M)


@dataclass(frozen=True)
class Cell:
    """A part of a page.

    Attributes:
        kind: "prose", "python" or "commands".
        text: Markdown or code.
        printed: by the code.
        pictures: descriptions and paths, relative to the page, of what it drew.
    """

    kind: str
    text: str
    printed: str = ""
    pictures: tuple[tuple[str, str], ...] = ()


def names(folder: Path = FOLDER) -> list[str]:
    """Names of all tutorials, or pages of another folder, in order."""
    return sorted(path.stem for path in folder.glob("*.md") if path.stem != "README")


def read_cells(text: str) -> list[Cell]:
    """Cells of a page in order."""
    text, cells, end = _MADE.sub("", text), [], 0
    for match in _BLOCK.finditer(text):
        if text[end : match.start()].strip():
            cells.append(Cell("prose", text[end : match.start()].strip("\n") + "\n"))
        output = match["output"] or ""
        printed = _TEXT.search(output)
        kind = "python" if match["language"] else "commands"
        pictures = tuple((alt, path) for alt, path in _PICTURE.findall(output))
        cells.append(Cell(kind, match["code"], printed[1] if printed else "", pictures))
        end = match.end()
    if text[end:].strip():
        cells.append(Cell("prose", text[end:].strip("\n") + "\n"))
    return cells


def code_hash(cells: list[Cell]) -> str:
    """Short hash of all code: a page whose code has changed since it was run has another one. Layout does not count."""
    parts = [ast.dump(ast.parse(cell.text)) if cell.kind == "python" else cell.text for cell in cells]
    code = "\n".join(part for part, cell in zip(parts, cells, strict=True) if cell.kind != "prose")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def stated_hash(text: str) -> str | None:
    """Hash of the code that made the outputs of a page."""
    found = _MADE.search(text)
    return found[1] if found else None


def write_cells(cells: list[Cell]) -> str:
    """The page of these cells, with the hash of their code behind its title."""
    parts, number = [], 0
    for cell in cells:
        if cell.kind == "prose":
            parts.append(cell.text)
            continue
        number += 1
        block = f"```{'python' if cell.kind == 'python' else ''}\n{cell.text}```\n"
        shown = [f"```text\n{cell.printed}```\n"] if cell.printed else []
        shown += [f"![{alt}]({path})\n" for alt, path in cell.pictures]
        if shown:
            block += f"\n<!-- output-{number}:begin -->\n" + "\n".join(shown) + f"<!-- output-{number}:end -->\n"
        parts.append(block)
    title, _, rest = "\n".join(parts).partition("\n")
    return f"{title}\n<!-- made of {code_hash(cells)} -->\n{rest}"


def run_cells(cells: list[Cell], name: str) -> Iterator[tuple[Cell, list[Image.Image]]]:
    """Run the cells in the current folder, one after the other.

    Yields:
        Each cell with what it printed, and the pictures that it drew.

    Raises:
        Exception: what the code of a cell raises; a command that ends with another code than its comment says.
    """
    scope: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        if cell.kind == "python":
            printed, drawn = _run_python(cell.text, scope, name)
        elif cell.kind == "commands":
            printed, drawn = run_commands(cell.text), []
        else:
            printed, drawn = "", []
        yield Cell(cell.kind, cell.text, _tidy(printed)), drawn


def description_of(code: str) -> str:
    """The comment at the end of the last line of a block."""
    return code.rstrip().splitlines()[-1].rpartition("  # ")[2]


def write_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG of at most ``PICTURE_BYTES``."""
    for shown in (picture, picture.convert("RGB").quantize(64)):
        shown.save(path, optimize=True)
        if path.stat().st_size <= PICTURE_BYTES:
            return
    raise ValueError(f"{path.name} has {path.stat().st_size} bytes, more than {PICTURE_BYTES}: draw less in it")


def offer_notebooks(pages: Path) -> None:
    """Write every tutorial of a copy of the folder as a notebook beside its page, and a link below its title."""
    for name in names():
        page = pages / f"{name}.md"
        title, _, rest = page.read_text(encoding="utf-8").partition("\n")
        (pages / f"{name}.ipynb").write_text(notebook(read_cells(f"{title}\n{rest}")), encoding="utf-8")
        page.write_text(f"{title}\n\n{{download}}`Download as a notebook <{name}.ipynb>`\n{rest}", encoding="utf-8")


def notebook(cells: list[Cell]) -> str:
    """The tutorial as a Jupyter notebook, with its outputs; pictures are read from beside the pages."""
    made = []
    for number, cell in enumerate(cells):
        common = {"id": f"cell-{number}", "metadata": {}}
        if cell.kind == "prose":
            # Pages beside this one are not beside a notebook that was downloaded.
            text = re.sub(r"\[([^\]]*)\]\((?!https:)[^)]*\)", r"\1", cell.text)
            made.append({"cell_type": "markdown", **common, "source": _lines(text)})
            continue
        outputs: list[dict[str, Any]] = []
        if cell.printed:
            outputs.append({"output_type": "stream", "name": "stdout", "text": _lines(cell.printed)})
        for alt, path in cell.pictures:
            data = base64.b64encode((FOLDER / path).read_bytes()).decode()
            shown = {"image/png": data, "text/plain": [alt]}
            outputs.append({"output_type": "display_data", "metadata": {}, "data": shown})
        code = cell.text if cell.kind == "python" else "".join(f"!{line}" for line in _commands(cell.text))
        made.append(
            {"cell_type": "code", **common, "execution_count": None, "outputs": outputs, "source": _lines(code)}
        )
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return json.dumps({"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def _run_python(code: str, scope: dict[str, Any], name: str) -> tuple[str, list[Image.Image]]:
    """Run a block; a last expression is shown, as a notebook shows it."""
    tree, last = ast.parse(code), None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]
    printed, value = io.StringIO(), None
    # The code stands in this repository's own pages, and shares its names from block to block as a notebook's does.
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"<{name}>", "exec"), scope)
        if last is not None:
            value = eval(compile(last, f"<{name}>", "eval"), scope)
    if isinstance(value, Image.Image):
        return printed.getvalue(), [value]
    return printed.getvalue() + ("" if value is None else f"{value!r}\n"), []


def _commands(code: str) -> list[str]:
    """Commands of a block, one with its continued lines."""
    return re.findall(r"(?:[^\n]*\\\n)*[^\n]+\n", code)


def run_commands(code: str) -> str:
    """Run commands of snellen; ``# ends with 3`` at the end of one says which exit code is right."""
    environment = {**os.environ, "COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}
    printed = ""
    for command in _commands(code):
        wanted = re.search(r"# ends with (\d+)", command)
        program, *arguments = shlex.split(command.replace("\\\n", " "), comments=True)
        if program != "snellen":
            raise ValueError(f"a cell of commands runs snellen alone, not {program}")
        done = subprocess.run(
            [sys.executable, "-c", "from snellen.cli import main; main()", *arguments],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode != int(wanted[1] if wanted else 0):
            raise ValueError(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        printed += done.stdout
        if wanted:
            printed += f"{done.stderr.strip()}\n".lstrip("\n")
    return printed


def _tidy(text: str) -> str:
    """Text without spaces at line ends and empty lines at its ends."""
    lines = "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")
    return f"{lines}\n" if lines else ""


def _lines(text: str) -> list[str]:
    return text.rstrip("\n").splitlines(keepends=True)
