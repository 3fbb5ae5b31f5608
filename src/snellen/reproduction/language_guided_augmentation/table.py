"""Tables of planted shortcuts that the check names, in scenes and behind real cut-outs.

The figures are made by scripts/measure_planted_shortcuts.py and scripts/measure_cutout_shortcuts.py, one file of
docs/measured for each kind and seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from snellen.reproduction.shared.documents import Tables, markdown_table

#: Share of right decisions that a class loses without its phrase, from which it leans on it. It is measured
#: on other images and not by the check.
LEANS = 0.2


def planted_table(name: str, root: Path) -> str:
    """A row for each kind: where classes lean, whether the phrase is first there, and what else is found."""
    records = [json.loads(path.read_bytes()) for path in sorted((root / "docs" / "measured" / name).glob("*.json"))]
    kinds = list(dict.fromkeys(one["kind"] for one in records))
    rows = []
    for kind in [*kinds, None] if len(kinds) > 1 else kinds:
        own = [one for one in records if kind in (None, one["kind"])]
        leaning, healthy = ([_network(one, follows) for one in own] for follows in (True, False))
        places = [place for one, network in zip(own, leaning, strict=True) for place in _places(one, network)]
        lean, free = ([place for place in places if place.leans is wanted] for wanted in (True, False))
        rows.append(
            [
                kind or "all",
                _share([_tops(one, network) for one, network in zip(own, leaning, strict=True)]),
                f"{len(lean)} of {len(places)}",
                _share([place.first for place in lean]),
                _share([place.last for place in lean]),
                _share([place.found for place in lean]),
                _share([place.found for place in free]),
                str(sum(_others(one, network) for one, network in zip(own, leaning, strict=True))),
                _share([bool(network["findings"]) for network in healthy]),
                f"{min(network['accuracy_alike'] for network in healthy):.2f}",
            ]
        )
    head = [
        "planted", "first of all phrases, networks", "classes that lean", "first there",
        "harmless ones behind it there", "a finding there", "a finding in other classes", "findings of something else",
        "networks without it that have a finding", "their least accuracy",
    ]  # fmt: skip
    return markdown_table(head, rows, ["---", *["---:"] * 9])


def _share(whether: Sequence[bool]) -> str:
    """How many of how many; a dash where there are none."""
    return f"{sum(whether)} of {len(whether)}" if whether else "–"


def _network(record: Mapping[str, Any], follows: bool) -> Mapping[str, Any]:
    return next(one for one in record["networks"] if one["follows"] is follows)


@dataclass(frozen=True)
class _Place:
    """Where the planted phrase of one class stands.

    Attributes:
        leans: whether the class loses its right decisions without it, on other images.
        first: whether it is the first phrase of its class.
        last: whether harmless phrases are behind it.
        found: whether it is a finding.
    """

    leans: bool
    first: bool
    last: bool
    found: bool


def _places(record: Mapping[str, Any], network: Mapping[str, Any]) -> Sequence[_Place]:
    found = []
    subjects = {one["subject"] for one in network["findings"]}
    planted = set(record["own"].values())
    for name, phrase in record["own"].items():
        phrases = [row["phrase"] for row in network["rows"] if row["class"] == name]
        own = phrases.index(phrase) if phrase in phrases else len(phrases)
        last = phrase in phrases and all(place > own for place, one in enumerate(phrases) if one not in planted)
        leans = network["right_with_it"][name] - network["right_without"][name] >= LEANS
        found.append(_Place(leans, own == 0 and bool(phrases), last, f"{name}: {phrase}" in subjects))
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
