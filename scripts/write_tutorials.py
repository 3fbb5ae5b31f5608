"""Run tutorials, and write what they print and draw into their pages.

    python scripts/write_tutorials.py                     all of docs/tutorials, in order
    python scripts/write_tutorials.py label-clean-up      one
    python scripts/write_tutorials.py --check NAME        run it, and write nothing
    python scripts/write_tutorials.py --notebooks FOLDER  write every page as FOLDER/NAME.ipynb; runs nothing

Each runs in a temporary folder with one thread. What a page asserts must hold. Figures may differ in the last digits
with the processor and the versions of torch and NumPy.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tutorial_cells import (
    FOLDER,
    description_of,
    names,
    notebook,
    read_cells,
    run_cells,
    write_cells,
    write_picture,
)


def write_tutorial(name: str, *, check: bool = False) -> None:
    """Run a tutorial and, unless ``check``, write its outputs."""
    import torch

    torch.set_num_threads(1)
    page, started, spent = FOLDER / f"{name}.md", time.perf_counter(), _cpu()
    done, drawn = [], 0
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for cell, pictures in run_cells(read_cells(page.read_text(encoding="utf-8")), name):
            paths = []
            for picture in pictures:
                drawn += 1
                path = f"pictures/{name}-{drawn}.png"
                if not check:
                    write_picture(picture, FOLDER / path)
                paths.append((description_of(cell.text), path))
            done.append(replace(cell, pictures=tuple(paths)))
            print(cell.printed, end="", flush=True)
    if not check:
        page.write_text(write_cells(done), encoding="utf-8")
    print(f"{name}: {time.perf_counter() - started:.0f} s, {_cpu() - spent:.0f} s of one core", flush=True)


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
    parser.add_argument("names", nargs="*", help="tutorials; all where none is named")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--notebooks", type=Path, help="folder of notebooks; runs nothing")
    given = parser.parse_args()
    if given.notebooks is not None:
        write_notebooks(given.notebooks)
        return
    failed = []
    for name in given.names or names():
        try:
            write_tutorial(name, check=given.check)
        except Exception:
            traceback.print_exc()
            failed.append(name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
