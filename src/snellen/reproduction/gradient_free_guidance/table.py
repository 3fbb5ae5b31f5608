"""The table of ways beside autoguidance, from docs/measured/guidance-beside."""

from __future__ import annotations

from pathlib import Path

from snellen.reproduction.shared.documents import Tables, markdown_table, read_all_measured

#: What a page calls the ways.
WAYS = {
    "alone": "autoguidance alone",
    "recorded": "beside it, gamma 3, as recorded",
    "milder": "gamma 1",
    "turned": "gamma 0: its own scale, another reference",
    "later": "gamma 3, at sigma 1 and below",
    "later, turned": "gamma 0, at sigma 1 and below",
}


def beside_table(root: Path) -> str:
    """A row for each way; Fréchet distance and accuracy by the judge of each seed."""
    found = read_all_measured(root, "guidance-beside")
    rows = [
        [
            text,
            *(f"{one['ways'][way]['frechet']:.1f}" for one in found),
            *(f"{100 * one['ways'][way]['accuracy']:.1f}" for one in found),
        ]
        for way, text in WAYS.items()
    ]
    head = [
        "way",
        *(f"Fréchet distance, seed {one['seed']}" for one in found),
        *(f"accuracy, %, seed {one['seed']}" for one in found),
    ]
    return markdown_table(head, rows)


TABLES: Tables = {"docs/systems/gradient_free_guidance.md": {"beside-autoguidance": beside_table}}
