"""The table of garments that fill their image, and of small ones, from docs/measured/guided-garments."""

from __future__ import annotations

from pathlib import Path

from snellen.reproduction.shared.documents import Tables, markdown_table, mean_words, read_all_measured


def garments_table(root: Path) -> str:
    """A row for each width: binary logarithm of the ratio of changed pixels, and the ratio of each seed."""
    found = read_all_measured(root, "guided-garments")
    rows = []
    for place, width in enumerate(one["width"] for one in found[0]["widths"]):
        each = [one["widths"][place] for one in found]
        rows.append(
            [
                f"{width} of 32 pixels",
                mean_words([one["ratio_to_uniform.log2"] for one in each], "{:.2f}"),
                ", ".join(f"{one['ratio_to_uniform']:.2f}" for one in each),
            ]
        )
    return markdown_table(["width of the garment", "log2 of the ratio", "ratio of each seed"], rows)


TABLES: Tables = {"docs/systems/feature_guided_search.md": {"guided-garments": garments_table}}
