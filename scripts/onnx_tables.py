"""Table of ONNX exports with gradients in docs/models.md, of docs/measured/onnx-gradients.json.

The figures are made by scripts/measure_onnx_gradients.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table


def gradients_table(found: Mapping[str, Any]) -> str:
    """A row for each exporter and opset: files, those with gradients, and the largest differences."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in found["rows"]:
        groups.setdefault((row["exporter"], row["opset"]), []).append(row)
    rows = [
        [
            f"{exporter}, opset {opset}",
            f"{sum(row['exported'] for row in group)} of {len(group)}",
            f"{sum(row.get('gradients', False) for row in group)}",
            f"{sum(row.get('layers', False) for row in group)}",
            _largest(group, "scores_apart"),
            _largest(group, "gradients_apart_in_double"),
            _largest(group, "gradients_apart"),
        ]
        for (exporter, opset), group in groups.items()
    ]
    head = ["exporter", "exported", "with gradients", "with layers", "scores", "gradients (float64)", "(float32)"]
    return markdown_table(head, rows)


def _largest(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    values = [row[name] for row in rows if row.get(name) is not None]
    return f"{max(values):.0e}" if values else "–"


TABLES: Tables = {"docs/models.md": {"gradients": from_measured("onnx-gradients", gradients_table)}}
