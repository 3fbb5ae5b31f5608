"""Tables of guided generation, from docs/measured/guidance-curves.json and docs/measured/guidance-overhead.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table
from snellen.reproduction.shared.guided_generation.ways import CONDITIONAL, UNCONDITIONAL, Way

#: Name of a base in the figures → the ways beside it.
BASES: Mapping[str, Mapping[str, Way]] = {"conditional": CONDITIONAL, "unconditional": UNCONDITIONAL}


def curves_table(found: Mapping[str, Any]) -> str:
    """Every way at the scale that the rule chose, below what no guidance and what real images reach."""
    rows = []
    for world, measured in found["worlds"].items():
        real = measured["real"]
        rows.append([world, "real images", "", "", "", f"{real['frechet']:.1f}", *_shares(real), ""])
        for base, ways in BASES.items():
            rows.append(_row(world, base, "none", "", measured[f"none {base}"]))
            for name, way in ways.items():
                if name in measured["arms"]:
                    arm = measured["arms"][name]
                    rows.append(_row(world, base, way.label, arm["chosen"], arm["points"][arm["chosen"]]))
    head = ["world", "denoiser", "way", "w", "judge", "Fréchet distance", "precision", "recall"]
    return markdown_table([*head, "rows of the denoiser"], rows)


def _row(world: str, denoiser: str, way: str, scale: str, point: Mapping[str, float]) -> list[str]:
    figures = [f"{100 * point['accuracy']:.1f} %", f"{point['frechet']:.1f}", *_shares(point), f"{point['rows']:.1f}"]
    return [world, denoiser, way, scale, *figures]


def _shares(point: Mapping[str, float]) -> list[str]:
    return [f"{point[name]:.2f}" for name in ("precision", "recall")]


def overhead_table(found: Mapping[str, Any]) -> str:
    """Time of a call over that of all networks in it."""
    worlds = found["worlds"]
    names = list(next(iter(worlds.values())))
    rows = [[name, *(f"{ratios[name]:.2f}" for ratios in worlds.values())] for name in names]
    return markdown_table(["term", *worlds], rows)


TABLES: Tables = {
    "docs/guided-generation.md": {
        "curves": from_measured("guidance-curves", curves_table),
        "overhead": from_measured("guidance-overhead", overhead_table),
    }
}
