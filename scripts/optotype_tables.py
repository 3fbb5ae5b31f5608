"""Tables of the procedural worlds in docs/optotypes.md.

The figures are in docs/measured/optotypes-*.json; measure_optotypes.py and measure_planted_defects.py put them there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from snellen.data.files.catalogue.loading import known_sets
from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table


def factors_table(found: Mapping[str, Any]) -> str:
    """Accuracy on every factor: over all scenes, and by style."""
    styles = list(found["accuracy by style"])
    rows = [
        [factor, f"{share:.4f}", *(f"{found['accuracy by style'][style][factor]:.4f}" for style in styles)]
        for factor, share in found["accuracy"].items()
    ]
    return markdown_table(["factor", "all", *styles], rows)


def nuisances_table(found: Mapping[str, Any]) -> str:
    """What a network reads at each strength."""
    steps = next(iter(found.values()))["strengths"][::2]
    rows = [
        [
            name,
            *(f"{value:.2f}" for value in one["read"][::2]),
            "yes" if one["mean rises"] else "no",
            f"{one['rank correlation, median']:.2f}",
            f"{one['rank correlation, 5th percentile']:.2f}",
            "yes" if one["identity at 0"] else "no",
        ]
        for name, one in found.items()
    ]
    head = ["read at strength", *(f"{step:g}" for step in steps), "mean rises", "rank correlation", "5th percentile"]
    return markdown_table([*head, "0 is the identity"], rows)


def defects_table(found: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> str:
    """Each figure with the defect and without it, means over the seeds with the least and the largest."""
    rows = []
    for name, seeds in found.items():
        for number, first in enumerate(seeds[0]):
            rows_of = [seed[number] for seed in seeds]
            cells = [_span([row[side] for row in rows_of]) for side in ("planted", "control")]
            rows.append([name if not number else "", first["figure"], *cells, _verdict(rows_of)])
    return markdown_table(["defect", "figure", "with the defect", "without", "fails as planted"], rows)


def _span(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ({min(values):.3f} – {max(values):.3f})"


def _verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whether every seed goes the planted way; where nothing may change, by how much it did at most."""
    differences = [row["planted"] - row["control"] for row in rows]
    if rows[0]["direction"] == "near":
        return f"unchanged within {max(map(abs, differences)):.3f}"
    right = [difference > 0 if rows[0]["direction"] == "above" else difference < 0 for difference in differences]
    return f"{sum(right)} of {len(right)} seeds"


def speed_table(found: Mapping[str, Any]) -> str:
    """Images a second."""
    rows = [[name, f"{rate:,.0f}"] for name, rate in found["rates"].items()]
    return markdown_table(["what", "images a second"], rows)


def known_table(root: Path) -> str:
    """The catalogue of real sets."""
    rows = []
    for listed in known_sets():
        known = listed.known
        installs = "<br>".join(f"`{source.install}`" for source in known.sources)
        shown = "" if known.may_show else "; its pictures may not be shown"
        rows.append((f"`known:{known.name}`", f"{known.what}{shown}", known.licence, installs))
    return markdown_table(["reference", "what it is", "licence", "how to install"], rows, ["---"] * 4)


TABLES: Tables = {
    "docs/optotypes.md": {
        "factors": from_measured("optotypes-factors", factors_table),
        "nuisances": from_measured("optotypes-nuisances", nuisances_table),
        "defects": from_measured("optotypes-defects", defects_table),
        "known": known_table,
        "speed": from_measured("optotypes-speed", speed_table),
    }
}
