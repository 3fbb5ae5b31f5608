"""Shares with intervals, for the worst value of a factor too, and where measured figures are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snellen.core.package import asset
from snellen.metrics.intervals import wilson
from snellen.models.weights.bundled_folders import CARD

RESULTS = Path(__file__).parents[2] / "docs" / "measured"


def share(right: Sequence[bool]) -> dict[str, float]:
    """Share of what is right, with its 95 % interval (Wilson)."""
    interval = wilson(sum(right), len(right))
    return {
        "share": round(sum(right) / len(right), 4),
        "low": round(interval[0], 4),
        "high": round(interval[1], 4),
        "n": len(right),
    }


def share_by(right: Sequence[bool], values: Sequence[str]) -> dict[str, Any]:
    """The same over all, and for the value of which the least is right."""
    pairs = list(zip(right, values, strict=True))
    each = {value: share([one for one, of in pairs if of == value]) for value in dict.fromkeys(values)}
    worst = min(each, key=lambda value: each[value]["share"])
    return {**share(right), "worst": {"value": worst, **each[worst]}}


def write(part: str, name: str, figures: Mapping[str, Any], headline: Mapping[str, float]) -> None:
    """Keep the figures of one model, put the foremost on the card of its folder, and print them."""
    card = asset(name) / CARD
    fields = json.loads(card.read_text(encoding="utf-8"))
    card.write_text(json.dumps({**fields, "metrics": dict(headline)}, indent=1) + "\n", encoding="utf-8")
    text = json.dumps(figures, indent=1, ensure_ascii=False)
    (RESULTS / f"embedded-{part}.json").write_text(text + "\n", encoding="utf-8")
    print(text)
