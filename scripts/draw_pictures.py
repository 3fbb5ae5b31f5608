"""Draw the pictures of published systems into docs/pictures.

    python scripts/draw_pictures.py NAME [NAME ...]

NAME is a published system, or ``guided_generation``. The module ``picture`` of ``snellen.reproduction.NAME`` says what
a picture shows and what it needs. Some pictures are drawn by their measurement instead: see measure.py.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

import torch
from reproduction_modules import find_modules

from snellen.reproduction.shared.documents import picture_path

ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> None:
    """Draw, and print what the pictures say for the text of their pages."""
    modules = find_modules("picture")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME", choices=modules, help=", ".join(modules))
    torch.set_num_threads(1)
    for name in parser.parse_args(arguments).names:
        for picture, draw in importlib.import_module(modules[name]).PICTURES.items():
            target = picture_path(root, picture)
            target.parent.mkdir(parents=True, exist_ok=True)
            if text := draw(root, target):
                print(text)
            print(target)


if __name__ == "__main__":
    main()
