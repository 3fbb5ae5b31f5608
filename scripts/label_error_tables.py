"""Tables of label errors in docs/wrong-labels.md: how often planted ones are found, and healthy labels accused.

The figures are those of docs/measured/label-errors.json and docs/measured/label-levels.json
(scripts/measure_label_errors.py, scripts/measure_label_levels.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table

#: Cases, and what they are called.
CASES = {"out": "out of sample", "in": "in sample", "large": "out of sample"}

#: A peer's figure is matched when ours lies no more than this below: less is a matter of single images.
EVEN = 0.005


def power_table(case: str, found: Mapping[str, Any]) -> str:
    """A row for each kind, share and number of images: found, and precision, recall, F1 and ranking beside peers."""
    rows = []
    for row in found["rows"]:
        if CASES[row["case"]] != case:
            continue
        ours, cleanlab, dataeval = row["snellen"], row["cleanlab"], row["dataeval"]
        rows.append(
            [
                str(row["images"]),
                row["kind"],
                f"{row['share']:.0%}",
                f"{ours['found']:.0%}",
                *([f"{ours['in_sample']:.0%}"] if case == "in sample" else []),
                *(f"{ours[name]:.2f}" for name in ("precision", "recall")),
                _beside(ours["f1"], cleanlab["f1"]),
                _beside(ours["average_precision"], cleanlab["average_precision"]),
                f"{dataeval['precision']:.2f}",
                _beside(ours["recall_at_dataeval"], dataeval["recall"]),
                f"{dataeval['average_precision']:.2f}",
                " / ".join(f"{one['seconds']:.1f}" for one in (ours, cleanlab, dataeval)),
            ]
        )
    head = [
        *(
            "images",
            "kind",
            "wrong",
            "found",
            *(["noticed in sample"] if case == "in sample" else []),
            "precision",
            "recall",
            "F1 (cleanlab)",
            "AP (cleanlab)",
        ),
        *("DataEval's precision", "recall there (DataEval)", "its AP", "seconds: ours / cleanlab / DataEval"),
    ]
    return markdown_table(head, rows, ["---:", "---", *["---:"] * (len(head) - 2)])


def level_table(found: Mapping[str, Any]) -> str:
    """A row for each healthy model: how often its labels are accused, right or with just the tolerated share wrong."""
    rows = [
        [one["model"], str(one["images"]), str(one["draws"]), *(f"{one[kind]:.1%}" for kind in KINDS), one["in_sample"]]
        for one in found["rows"]
    ]
    return markdown_table(["model", "images", "draws", *KINDS.values(), "called in sample"], rows)


#: What is planted for the level, and the head of its column.
KINDS = {
    "none": "right labels: p < 5 %",
    "symmetric": "0.5 % of any class: p < 5 %",
    "runner-up": "0.5 % as the model errs: p < 5 %",
}


def _beside(ours: float, theirs: float) -> str:
    """Our figure and a peer's in brackets; bold where ours falls behind."""
    text = f"{ours:.2f} ({theirs:.2f})"
    return f"**{text}**" if ours < theirs - EVEN else text


TABLES: Tables = {
    "docs/wrong-labels.md": {
        "label errors out of sample": from_measured("label-errors", partial(power_table, "out of sample")),
        "label errors in sample": from_measured("label-errors", partial(power_table, "in sample")),
        "label levels": from_measured("label-levels", level_table),
    }
}
