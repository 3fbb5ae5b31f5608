"""Run tutorials and tasks, and write what they print and draw into their pages.

    python scripts/write_tutorials.py                     all of docs/tutorials and docs/tasks, in order
    python scripts/write_tutorials.py label-clean-up      one
    python scripts/write_tutorials.py --check NAME        run it, write nothing, and fail where it prints anything else
    python scripts/write_tutorials.py --run NAME          run it, write nothing, and fail only where it raises an error
    python scripts/write_tutorials.py --notebooks FOLDER  write every tutorial as FOLDER/NAME.ipynb; runs nothing

Each runs in a temporary folder with one thread. What a page asserts must hold. Figures may differ with the processor
and the versions of torch and NumPy: ``--check`` then fails, and ``--run`` does not.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from PIL import Image
from tutorial_cells import (
    FOLDER,
    TASKS,
    Cell,
    description_of,
    names,
    notebook,
    read_cells,
    run_cells,
    write_cells,
    write_picture,
)


def write_tutorial(name: str, mode: str = "write") -> None:
    """Run a tutorial; "write" its outputs, "check" that they are those of the page, or only "run" it.

    Raises:
        Exception: what a cell raises.
        ValueError: ``mode`` is "check", and a cell printed something else than its page shows.
    """
    import torch

    torch.set_num_threads(1)
    page, started, spent = page_of(name), time.perf_counter(), _cpu()
    cells = read_cells(page.read_text(encoding="utf-8"))
    done, drawn = [], dict[str, Image.Image]()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for cell, pictures in run_cells(cells, name):
            paths = [f"pictures/{name}-{len(drawn) + number}.png" for number in range(1, len(pictures) + 1)]
            drawn |= zip(paths, pictures, strict=True)
            done.append(replace(cell, pictures=tuple((description_of(cell.text), path) for path in paths)))
            print(cell.printed, end="", flush=True)
    if mode == "write":
        for path, picture in drawn.items():
            write_picture(picture, page.parent / path)
        page.write_text(write_cells(done), encoding="utf-8")
    print(f"{name}: {time.perf_counter() - started:.0f} s, {_cpu() - spent:.0f} s of one core", flush=True)
    if mode == "check" and done != cells:
        raise ValueError(f"{name} prints something else than its page shows:\n{changes(cells, done)}")


def page_of(name: str) -> Path:
    """The page of a tutorial or a task.

    Raises:
        ValueError: there is none; the message lists those that are there.
    """
    for folder in (FOLDER, TASKS):
        if name in names(folder):
            return folder / f"{name}.md"
    raise ValueError(f"no page {name!r}; known: {', '.join([*names(FOLDER), *names(TASKS)])}")


def changes(shown: Sequence[Cell], made: Sequence[Cell]) -> str:
    """Lines of the outputs that differ, as a unified diff."""
    before, after = ([line for cell in cells for line in cell.printed.splitlines()] for cells in (shown, made))
    return "\n".join(difflib.unified_diff(before, after, "page", "run", n=0, lineterm=""))


def _cpu() -> float:
    """Processor time of this process and those that it ran, seconds."""
    return sum(os.times()[:4])


def write_notebooks(folder: Path) -> None:
    """Write all tutorials as notebooks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names():
        cells = read_cells((FOLDER / f"{name}.md").read_text(encoding="utf-8"))
        (folder / f"{name}.ipynb").write_text(notebook(cells), encoding="utf-8")


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="tutorials or tasks; all where none is named")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where outputs differ from the page")
    parser.add_argument("--run", action="store_true", help="write nothing; fail only where a cell does")
    parser.add_argument("--notebooks", type=Path, help="folder of notebooks; runs nothing")
    given = parser.parse_args()
    if given.notebooks is not None:
        write_notebooks(given.notebooks)
        return
    mode = "check" if given.check else "run" if given.run else "write"
    failed = []
    for name in given.names or [*names(), *names(TASKS)]:
        try:
            write_tutorial(name, mode)
        except Exception:  # any that a cell raises: it is shown, the pages behind it are run, and the exit code is 1
            traceback.print_exc()
            failed.append(name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
