"""Table of latents and tokens on a generator with planted faults and on one without: docs/measured/failure-kinds."""

from __future__ import annotations

import json
from pathlib import Path

from snellen.reproduction.shared.documents import Tables, markdown_table, measured_path

KINDS = {"faults": "with planted faults", "none": "without"}


def kinds_table(root: Path) -> str:
    """A row for each generator, over all seeds."""
    folder = measured_path(root, "failure-kinds/x").parent
    found = [json.loads(path.read_bytes()) for path in sorted(folder.glob("seed-*.json"))]
    rows = []
    for kind, name in KINDS.items():
        ours = [one[kind] for one in found]
        cells = [name]
        for rule in ("residual", "random"):
            counts = {key: sum(one["latents"][rule][key] for one in ours) for key in ("found", "searches", "planted")}
            cells.append(f"{counts['found']} of {counts['searches']} ({counts['planted']})")
        residual = [one["latents"]["residual"] for one in ours]
        cells.append(f"{sum(one['false'] for one in residual)} of {sum(one['found'] for one in residual)}")
        cells.append(f"{sum(one['non_gaussian'] for one in residual)} of {sum(one['searches'] for one in residual)}")
        cells.append(", ".join(f"{one['token']['rate']:.2f}" for one in ours))
        cells.append(", ".join(f"{one['token']['clean']:.2f}" for one in ours))
        rows.append(cells)
    head = [
        "generator",
        "latents found (the planted shape)",
        "by random latents",
        "false finds",
        "not Gaussian",
        "images that a token changes",
        "without the token",
    ]
    planted = [one["faults"]["planted"] for one in found]
    keys = {
        "pairs lost": "the shape is lost in {} of the images of a planted pair",
        "others lost": "in {} of those in another colour",
        "rings with the words": "a ring is in {} of the images with the planted words",
        "rings without": "and in {} of those without",
    }
    words = "; ".join(
        text.format(f"{sum(one[key] for one in planted) / len(planted):.0%}") for key, text in keys.items()
    )
    return f"{markdown_table(head, rows)}\n\nThe faults, by the judge: {words}."


TABLES: Tables = {"docs/systems/generator_failure.md": {"failure-kinds": kinds_table}}
