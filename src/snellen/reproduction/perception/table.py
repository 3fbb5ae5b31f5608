"""The table of layers with an ideal memory, from docs/measured/ideal-memory."""

from __future__ import annotations

from pathlib import Path

from snellen.reproduction.shared.documents import Tables, markdown_table, read_all_measured

#: What a page calls the ways.
WAYS = {
    "raw": "no layer",
    "augmented": "no layer, augmented images",
    "nearest": "layer, the nearest image by pixels",
    "shifted": "layer, the nearest image after a shift",
}


def memory_table(root: Path) -> str:
    """A row for each way; accuracy, and how often what is seen is of another class, of each set and seed."""
    found = read_all_measured(root, "ideal-memory")
    columns = [(f"{key[1:]} of each class, seed {one['seed']}", one[key]) for one in found for key in ("r8", "r20")]
    rows = [[text, *(_cell(ways[way]) for _, ways in columns)] for way, text in WAYS.items()]
    return markdown_table(["accuracy, % (seen as another class, %)", *(title for title, _ in columns)], rows)


def _cell(figures: dict[str, float]) -> str:
    wrong = figures.get("wrong_memory")
    return f"{100 * figures['accuracy']:.1f}" + ("" if wrong is None else f" ({100 * wrong:.0f})")


TABLES: Tables = {"docs/systems/perception.md": {"ideal-memory": memory_table}}
