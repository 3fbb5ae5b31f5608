"""The table of units that are zeroed, and how many, from docs/measured/letters-zeroed."""

from __future__ import annotations

from pathlib import Path

from snellen.reproduction.shared.documents import Tables, markdown_table, mean_words, read_all_measured

#: What a page calls the orders.
ORDERS = {"described": "units described with letters", "any": "all units, described with letters or not"}


def zeroed_table(root: Path) -> str:
    """Points gained in the worst group by all described units, and by as many as validation images choose."""
    found = read_all_measured(root, "letters-zeroed")
    rows = []
    for order, text in ORDERS.items():
        each = [one[order] for one in found]
        gains = {way: [100 * (one[way] - one["before"]) for one in each] for way in ("all", "chosen")}
        rows.append(
            [
                text,
                mean_words(gains["all"], "{:+.1f}") if order == "described" else "",
                mean_words(gains["chosen"], "{:+.1f}"),
                ", ".join(f"{one['count']:.0f}" for one in each),
                mean_words([100 * (one["none"] - one["none_before"]) for one in each], "{:+.1f}"),
            ]
        )
    head = [
        "zeroed; gain in points",
        "all of them",
        "the chosen number",
        "the number on each seed",
        "then, without letters",
    ]
    return markdown_table(head, rows, ["---", "---:", "---:", "---", "---:"])


TABLES: Tables = {"docs/systems/neuron_descriptions.md": {"letters-zeroed": zeroed_table}}
