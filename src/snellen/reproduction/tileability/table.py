"""The table of textures that were made with the metric and without it, from docs/measured/made-textures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snellen.reproduction.shared.documents import Tables, markdown_table, mean_words, read_all_measured

#: What a page calls the ways.
WAYS = {
    "example": "the example, cut off its period",
    "without": "made from noise without the metric",
    "from noise": "made from the same noise with it",
    "after": "with it, begun at what was made without",
    "from the example": "with it, begun at the example",
}


def made_table(root: Path) -> str:
    """Jumps at the seams and inside, their ratio, and the distance to the example; means over seeds."""
    found = read_all_measured(root, "made-textures")

    def means(way: str, figure: str) -> list[float]:
        return [float(np.mean([made[figure] for made in one["ways"][way]])) for one in found]

    def ratios(way: str) -> list[float]:
        return [float(np.mean([made["seam"] / made["inside"] for made in one["ways"][way]])) for one in found]

    rows = [
        [
            text,
            mean_words(means(way, "seam"), "{:.1f}"),
            mean_words(means(way, "inside"), "{:.1f}"),
            mean_words(ratios(way), "{:.2f}"),
            mean_words(means(way, "away"), "{:.4f}"),
            mean_words(means(way, "logit"), "{:+.2f}"),
        ]
        for way, text in WAYS.items()
    ]
    head = ["texture", "jump at the seams", "jump inside", "ratio", "distance to the example", "logit"]
    return markdown_table(head, rows, ["---", *["---:"] * 5])


TABLES: Tables = {"docs/systems/tileability.md": {"made-textures": made_table}}
