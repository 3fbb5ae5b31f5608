"""Write what was measured of guided generation into docs/guided-generation.md, between its generated markers.

    python scripts/write_guidance_tables.py [--check]

The figures are in docs/measured/guidance-*.json; benchmarks/guidance/curves.py and overhead.py put them there.
``--check`` writes nothing and fails when the page is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from write_optotype_tables import table
from write_systems_table import with_block

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "guidance"))
from arms import CONDITIONAL, UNCONDITIONAL, Family

PAGE = Path(__file__).parents[1] / "docs" / "guided-generation.md"
MEASURED = PAGE.parent / "measured"

BASES: Mapping[str, tuple[str, Mapping[str, Family]]] = {
    "conditional": ("told the class", CONDITIONAL),
    "unconditional": ("told nothing", UNCONDITIONAL),
}


def curves_table(found: Mapping[str, Any]) -> str:
    """Every way at the scale that the rule chose, below what no guidance and what real images reach."""
    rows = []
    for world, measured in found["worlds"].items():
        real = measured["real"]
        rows.append([world, "real images", "", "", "", f"{real['frechet']:.1f}", *_shares(real), ""])
        for base, (told, families) in BASES.items():
            rows.append(_row(world, told, "none", "", measured[f"none {base}"]))
            for name, family in families.items():
                if name in measured["arms"]:
                    arm = measured["arms"][name]
                    rows.append(_row(world, told, family.told, arm["chosen"], arm["points"][arm["chosen"]]))
    head = ["world", "denoiser", "way", "w", "judge", "Fréchet distance", "precision", "recall"]
    return table([*head, "rows of the denoiser"], rows)


def _row(world: str, told: str, way: str, scale: str, point: Mapping[str, float]) -> list[str]:
    cells = [world, told, way, scale, f"{100 * point['accuracy']:.1f} %", f"{point['frechet']:.1f}", *_shares(point)]
    return [*cells, f"{point['rows']:.1f}"]


def _shares(point: Mapping[str, float]) -> list[str]:
    return [f"{point[name]:.2f}" for name in ("precision", "recall")]


def overhead_table(found: Mapping[str, Any]) -> str:
    """Time of a call over that of all networks in it."""
    worlds = found["worlds"]
    names = list(next(iter(worlds.values())))
    return table(["term", *worlds], [[name, *(f"{ratios[name]:.2f}" for ratios in worlds.values())] for name in names])


TABLES: Mapping[str, Callable[[Any], str]] = {"curves": curves_table, "overhead": overhead_table}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    chosen = parser.parse_args(arguments)
    text = written = PAGE.read_text(encoding="utf-8")
    for name, draw in TABLES.items():
        found = json.loads((MEASURED / f"guidance-{name}.json").read_text(encoding="utf-8"))
        written = with_block(written, name, draw(found), "docs/guided-generation.md")
    if chosen.check and written != text:
        raise SystemExit("docs/guided-generation.md is stale; run python scripts/write_guidance_tables.py")
    if not chosen.check:
        PAGE.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
