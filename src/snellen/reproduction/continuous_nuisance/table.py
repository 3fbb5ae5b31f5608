"""Table of four classifiers under four shifts of generated scenes, from docs/measured/nuisance-curves.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table


def curves_table(found: Mapping[str, Any]) -> str:
    """A row for each shift and classifier: accuracy with its interval at each strength, failures, relative error."""
    rows = []
    for shift, kept in found["kept"].items():
        for model, figures in found["figures"].items():
            of_shift = figures[shift]
            points = [f"{one['accuracy']:.2f} ({one['low']:.2f} to {one['high']:.2f})" for one in of_shift["curve"]]
            error = of_shift["relative_error"]
            failed = f"{of_shift['failures']['failed']} of {of_shift['failures']['n']}"
            rows.append([f"{shift}, {kept}", model, *points, failed, "" if error is None else f"{error:.2f}"])
    strengths = [f"{one['strength']:g}" for one in next(iter(next(iter(found["figures"].values())).values()))["curve"]]
    changes = [f"{shift}: {change}" for shift, one in found["orders"].items() for change in one["changes"]]
    order = "; ".join(changes) if changes else "none beyond chance"
    head = ["shift, trajectories kept", "classifier", *strengths, "failed", "relative error"]
    return f"{markdown_table(head, rows)}\n\nChanges of the order with strength: {order}."


TABLES: Tables = {"docs/systems/continuous_nuisance.md": {"curves": from_measured("nuisance-curves", curves_table)}}
