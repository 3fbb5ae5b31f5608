"""Measure what a page shows of a published system beside its claims, and write it into docs/measured.

    python scripts/measure.py NAME [--part PART] [--set SETTING=VALUE ...]

The module ``measure`` of ``snellen.reproduction.NAME`` says what is measured, how long it takes and what it needs.
Afterwards, write_tables.py brings the figures into the page.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from reproduction_modules import find_modules

from snellen.cli.progress import TerminalProgress

ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> None:
    """Run the parts of one measurement, in order."""
    modules = find_modules("measure")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", choices=modules, help=", ".join(modules))
    parser.add_argument("--part", help="only this part; default: all")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="a setting of the parts")
    options = parser.parse_args(arguments)
    parts = importlib.import_module(modules[options.name]).MEASUREMENTS
    if options.part not in (None, *parts):
        parser.error(f"{options.name} has no part {options.part}; it has: {', '.join(parts)}")
    chosen = {name: part for name, part in parts.items() if options.part in (None, name)}
    values = {}
    for text in options.set:
        name, _, value = text.partition("=")
        known = sorted(set.intersection(*(settings(part) for part in chosen.values())))
        if name not in known:
            parser.error(f"{', '.join(chosen)} has no setting {name}; settings: {', '.join(known) or 'none'}")
        values[name] = as_value(value)
    torch.set_num_threads(1)
    with TerminalProgress() as progress:
        for part in chosen.values():
            part(root, progress, **values)


def settings(part: Callable[..., None]) -> set[str]:
    """Names of the settings of a part."""
    parameters = inspect.signature(part).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY}


def as_value(text: str) -> object:
    """A number, where the text is one in JSON; else the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


if __name__ == "__main__":
    main()
