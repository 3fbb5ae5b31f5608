"""The table of captions against three kinds of references, from docs/measured/caption-references."""

from __future__ import annotations

from pathlib import Path

from snellen.reproduction.shared.documents import Tables, markdown_table, mean_words, read_all_measured

#: What a page calls the references.
KINDS = {
    "five": "five, the best counts (as in the record)",
    "single": "one at a time",
    "coarse": "five that never name shape, colour or texture",
}


def references_table(root: Path) -> str:
    """Change of METEOR and ROUGE-L from scale 1 to scale 2, against each kind."""
    found = read_all_measured(root, "caption-references")
    rows = []
    for kind, text in KINDS.items():
        cells = [text]
        for measure in ("meteor", "rouge_l"):
            cells.append(f"{sum(one[kind][f'{measure} 1'] for one in found) / len(found):.3f}")
            changes = [one[kind][f"{measure} 2"] - one[kind][f"{measure} 1"] for one in found]
            cells.append(mean_words(changes, "{:+.3f}"))
        rows.append(cells)
    head = ["references", "METEOR at 1", "change at 2", "ROUGE-L at 1", "change at 2"]
    return markdown_table(head, rows, ["---", *["---:"] * 4])


TABLES: Tables = {"docs/systems/guided_captions.md": {"caption-references": references_table}}
