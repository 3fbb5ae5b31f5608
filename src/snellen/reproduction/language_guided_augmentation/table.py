"""Tables of planted shortcuts that the check names, in scenes and behind real cut-outs.

The figures are made by scripts/measure_planted_shortcuts.py and scripts/measure_cutout_shortcuts.py, one file of
docs/measured for each kind and seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from snellen.reproduction.shared.documents import Tables, markdown_table


def planted_table(name: str, root: Path) -> str:
    """A row for each kind: in how many classes the planted phrase is first, and what is found where nothing is."""
    records = [json.loads(path.read_bytes()) for path in sorted((root / "docs" / "measured" / name).glob("*.json"))]
    kinds = list(dict.fromkeys(one["kind"] for one in records))
    rows = []
    for kind in [*kinds, None]:
        own = [one for one in records if kind in (None, one["kind"])]
        leaning, healthy = ([_network(one, follows) for one in own] for follows in (True, False))
        places = [place for one, network in zip(own, leaning, strict=True) for place in _places(one, network)]
        found = sum(reported for _, _, reported in places)
        rows.append(
            [
                kind or "all",
                f"{sum(_tops(one, network) for one, network in zip(own, leaning, strict=True))} of {len(own)}",
                f"{sum(first for first, _, _ in places)} of {len(places)}",
                f"{sum(last for _, last, _ in places)} of {len(places)}",
                f"{found} of {len(places)}",
                str(sum(_others(one, network) for one, network in zip(own, leaning, strict=True))),
                f"{sum(bool(network['findings']) for network in healthy)} of {len(healthy)}",
            ]
        )
    head = [
        "planted", "first of all phrases, networks", "first of its class, classes", "harmless ones behind it, classes",
        "a finding, classes", "other findings", "networks without it that have a finding",
    ]  # fmt: skip
    return markdown_table(head, rows, ["---", *["---:"] * 6])


def _network(record: Mapping[str, Any], follows: bool) -> Mapping[str, Any]:
    return next(one for one in record["networks"] if one["follows"] is follows)


def _places(record: Mapping[str, Any], network: Mapping[str, Any]) -> Sequence[tuple[bool, bool, bool]]:
    """Of each class: whether its own phrase is first, whether harmless objects are behind it, whether it is found."""
    found = []
    subjects = {one["subject"] for one in network["findings"]}
    planted = set(record["own"].values())
    for name, phrase in record["own"].items():
        phrases = [row["phrase"] for row in network["rows"] if row["class"] == name]
        own = phrases.index(phrase) if phrase in phrases else len(phrases)
        first = own == 0 and bool(phrases)
        last = phrase in phrases and all(place > own for place, one in enumerate(phrases) if one not in planted)
        found.append((first, last, f"{name}: {phrase}" in subjects))
    return found


def _tops(record: Mapping[str, Any], network: Mapping[str, Any]) -> bool:
    """Whether what a network leans on most is planted; its rows are in the order of the ranking."""
    return bool(network["rows"]) and network["rows"][0]["phrase"] in record["own"].values()


def _others(record: Mapping[str, Any], network: Mapping[str, Any]) -> int:
    """Findings of what is not planted."""
    planted = set(record["own"].values())
    return sum(one["subject"].partition(": ")[2] not in planted for one in network["findings"])


TABLES: Tables = {
    "docs/systems/language_guided_augmentation.md": {
        "planted-shortcuts": partial(planted_table, "planted-shortcuts"),
        "cutout-shortcuts": partial(planted_table, "cutout-shortcuts"),
    }
}
