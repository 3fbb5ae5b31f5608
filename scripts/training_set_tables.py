"""Table of the scan of training sets in docs/poison.md, of docs/measured/training-set-scan.json.

The figures are made by scripts/measure_training_set_scan.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table

TARGET = 0


def scan_table(found: Mapping[str, Any]) -> str:
    """A row for each poisoned set, one for all clean sets, and what was reported among the other classes."""
    poisoned = [row for row in found["rows"] if row["trigger"] is not None]
    clean = [row for row in found["rows"] if row["trigger"] is None]
    rows = [
        [
            f"{row['trigger']}, {row['rate']:.0%}",
            str(row["planted"]),
            f"{row['attack_success']:.2f}",
            f"{row['planted_learned']:.2f}",
            *_named(row),
            f"{row['whitened']['z'][str(TARGET)]:.1f}",
            f"{row['whitened']['p_values'][str(TARGET)]:.1g}",
            "yes" if TARGET in row["raw"]["reported"] else "no",
        ]
        for row in poisoned
    ]
    head = [
        "trigger and rate", "planted", "attack", "learned", "reported", "named", "precision", "recall", "spreads",
        "p value", "reported without whitening",
    ]  # fmt: skip
    return "\n".join(
        [markdown_table(head, rows), "", f"False alarms: {_alarms(poisoned, 'whitened')}; {_clean(clean)}."]
    )


def _named(row: Mapping[str, Any]) -> list[str]:
    found = row["whitened"]
    if not found["named"]:
        return ["no", "0", "–", "0.00"]
    precision, recall = (found["named_planted"] / of for of in (found["named"], row["planted"]))
    return ["yes", str(found["named"]), f"{precision:.2f}", f"{recall:.2f}"]


def _alarms(rows: Sequence[Mapping[str, Any]], how: str) -> str:
    others = [(row, one) for row in rows for one in row[how]["silhouettes"] if int(one) != TARGET]
    wrong = sum(int(one) in row[how]["reported"] for row, one in others)
    return f"{wrong} of {len(others)} other classes of the poisoned sets"


def _clean(rows: Sequence[Mapping[str, Any]]) -> str:
    wrong, classes = (sum(len(row["whitened"][what]) for row in rows) for what in ("reported", "silhouettes"))
    return f"{wrong} of {classes} classes of {len(rows)} clean sets"


def beside_table(found: Mapping[str, Any]) -> str:
    """A row for the scan and each detector of the toolbox: what they name, over all poisoned and all clean sets."""
    rows = found["rows"]
    if any("art" not in row for row in rows):
        return "Not measured yet: `python scripts/measure_training_set_scan.py NETWORKS`."
    ways = {"this scan": [_counts(row["whitened"], row["whitened"]["reported"]) for row in rows]}
    for name in rows[0]["art"]:
        ways[f"ART, {name}"] = [_counts(row["art"][name], row["art"][name]["classes"]) for row in rows]
    head = ["detector", "poison named", "other images named", "classes reported without poison", "seconds"]
    return markdown_table(head, [[name, *_over(rows, counts)] for name, counts in ways.items()])


def _counts(named: Mapping[str, Any], accused: Sequence[int]) -> dict[str, float]:
    return {
        "planted": named["named_planted"],
        "others": named["named"] - named["named_planted"],
        "accused": len(accused),
        "target": TARGET in accused,
        "seconds": named["seconds"],
    }


def _over(rows: Sequence[Mapping[str, Any]], counts: Sequence[Mapping[str, float]]) -> list[str]:
    poisoned = [row["trigger"] is not None for row in rows]
    planted = sum(row["planted"] for row in rows)
    wrong = sum(one["accused"] - (one["target"] and bad) for one, bad in zip(counts, poisoned, strict=True))
    classes = sum(len(row["whitened"]["silhouettes"]) for row in rows) - sum(poisoned)
    return [
        f"{sum(one['planted'] for one in counts):.0f} of {planted}",
        f"{sum(one['others'] for one in counts):,.0f}",
        f"{wrong:.0f} of {classes}",
        f"{sum(one['seconds'] for one in counts) / len(counts):.1f}",
    ]


def simulated_table(found: Mapping[str, Any]) -> str:
    """A row for each kind of features."""
    rows = [[row["features"], str(row["sets"]), str(row["reported"])] for row in found["simulated"]]
    return markdown_table(["features", "sets", "reported"], rows)


TABLES: Tables = {
    "docs/poison.md": {
        "training-set": from_measured("training-set-scan", scan_table),
        "training-set-beside": from_measured("training-set-scan", beside_table),
        "training-set-simulated": from_measured("training-set-scan", simulated_table),
    }
}
