"""Write what was measured of the procedural worlds into docs/optotypes.md, between its generated markers.

    python scripts/write_optotype_tables.py [--check]

The figures are in docs/measured/optotypes-*.json; measure_optotypes.py and measure_planted_defects.py put them there.
``--check`` writes nothing and fails when the page is stale.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from write_systems_table import with_block

from snellen.data.files.catalogue.loading import known_sets

PAGE = Path(__file__).parents[1] / "docs" / "optotypes.md"
MEASURED = PAGE.parent / "measured"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown, numbers to the right but for the first column."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def factors_table(found: Mapping[str, Any]) -> str:
    """Accuracy on every factor: over all scenes, and by style."""
    styles = list(found["accuracy by style"])
    rows = [
        [factor, f"{share:.4f}", *(f"{found['accuracy by style'][style][factor]:.4f}" for style in styles)]
        for factor, share in found["accuracy"].items()
    ]
    return table(["factor", "all", *styles], rows)


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
    return table([*head, "0 is the identity"], rows)


def defects_table(found: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> str:
    """Each figure with the defect and without it, means over the seeds with the least and the largest."""
    rows = []
    for name, seeds in found.items():
        for number, first in enumerate(seeds[0]):
            rows_of = [seed[number] for seed in seeds]
            cells = [_span([row[side] for row in rows_of]) for side in ("planted", "control")]
            rows.append([name if not number else "", first["figure"], *cells, _verdict(rows_of)])
    return table(["defect", "figure", "with the defect", "without", "fails as planted"], rows)


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
    return table(["what", "images a second"], [[name, f"{rate:,.0f}"] for name, rate in found["rates"].items()])


def known_table() -> str:
    """The catalogue of real sets."""
    rows = []
    for listed in known_sets():
        known = listed.known
        installs = "<br>".join(f"`{source.install}`" for source in known.sources)
        shown = "" if known.may_show else "; its pictures may not be shown"
        rows.append((f"`known:{known.name}`", f"{known.what}{shown}", known.licence, installs))
    lines = [("reference", "what it is", "licence", "how to install"), ("---",) * 4, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


TABLES: Mapping[str, Callable[[Any], str]] = {
    "factors": factors_table,
    "nuisances": nuisances_table,
    "defects": defects_table,
    "speed": speed_table,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    chosen = parser.parse_args(arguments)
    text = PAGE.read_text(encoding="utf-8")
    written = with_block(text, "known", known_table(), "docs/optotypes.md")
    for name, draw in TABLES.items():
        found = json.loads((MEASURED / f"optotypes-{name}.json").read_text(encoding="utf-8"))
        written = with_block(written, name, draw(found), "docs/optotypes.md")
    if chosen.check and written != text:
        raise SystemExit("docs/optotypes.md is stale; run python scripts/write_optotype_tables.py")
    if not chosen.check:
        PAGE.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
