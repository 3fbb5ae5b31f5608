"""Tables of EfficientNet-Lite0 on furniture from all sides, from docs/measured/real-viewpoints.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table


def accuracy_table(found: Mapping[str, Any]) -> str:
    """Accuracy on natural views, on views from anywhere, and under attack."""
    figures, attacked = found["figures"], found["under attack"]
    all_of_them = f"all {found['counts']['objects']}"
    rows = [
        [all_of_them, "natural", _interval(figures["natural.right"]), _interval(figures["natural.in_five"])],
        [all_of_them, "from anywhere", _interval(figures["any.right"]), _interval(figures["any.in_five"])],
        *(
            [f"the {len(found['attacked'])} attacked", words, _interval(attacked[kind]), ""]
            for kind, words in (("natural", "natural"), ("random", "from anywhere"), ("attacked", "under attack"))
        ),
    ]
    return markdown_table(["objects", "views", "right", "right among five"], rows)


def attacked_table(found: Mapping[str, Any]) -> str:
    """A row for each object whose camera was attacked."""
    rows = [
        [
            f"{one['object_id']} ({one['class_name'].partition(',')[0]})",
            *("–" if one[kind] is None else f"{one[kind]:.2f}" for kind in ("natural", "random", "attacked")),
            (one["taken_for"] or "–").partition(",")[0],
            "–" if one["entropy"] is None else f"{one['entropy']:.1f}",
        ]
        for one in found["attacked"]
    ]
    head = ["object", "natural", "from anywhere", "under attack", "most often taken for", "entropy, nats"]
    return markdown_table(head, rows)


def map_table(found: Mapping[str, Any]) -> str:
    """Accuracy by azimuth and elevation, from above on top."""
    mapped = found["map"]
    columns = list(zip(mapped["azimuths"], mapped["azimuths"][1:], strict=False))
    bands = list(zip(mapped["elevations"], mapped["elevations"][1:], mapped["right"], strict=False))
    rows = [
        [f"{low:.0f}° to {high:.0f}°", *("–" if value is None else f"{value:.2f}" for value in values)]
        for low, high, values in reversed(bands)
    ]
    return markdown_table(["elevation, by azimuth", *(f"{low:.0f}° to {high:.0f}°" for low, high in columns)], rows)


def _interval(figure: Mapping[str, float | None]) -> str:
    low, high = (f"{figure[end]:.3f}" for end in ("low", "high"))
    return f"{figure['value']:.3f} ({low} to {high})"


TABLES: Tables = {
    "docs/systems/viewpoints.md": {
        "furniture": from_measured("real-viewpoints", accuracy_table),
        "furniture-map": from_measured("real-viewpoints", map_table),
        "furniture-attacked": from_measured("real-viewpoints", attacked_table),
    }
}
