"""Write what was measured into the pages of the published systems, between their generated markers.

    python scripts/write_claims_tables.py [--check]

A page of docs/systems/ holds markers ``claims NN`` for each system that it is about; the table comes from
results/NAME.json. ``--check`` writes nothing and fails when a table is stale.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from write_systems_table import with_block

from snellen.core.system import find_system
from snellen.reproduction.result import Result

ROOT = Path(__file__).parents[1]


def claims_table(number: int, results: Path) -> str:
    """The table of one system as Markdown, or a line that nothing is recorded."""
    path = results / f"{number:02d}.json"
    if not path.is_file():
        return "Nothing is recorded yet."
    result = Result.model_validate_json(path.read_text(encoding="utf-8"))
    rows = [
        ("", "claim", "source", "ours", "baseline", "95 % interval", "must be", "holds"),
        ("---", "---", "---", "---:", "---:", "---", "---", "---"),
    ]
    for claim in result.claims:
        baseline = "" if claim.baseline is None else f"{claim.baseline:.4f}"
        rows.append(
            (
                claim.id,
                claim.statement,
                claim.source,
                f"{claim.ours:.4f}",
                baseline,
                f"{claim.low:.4f} – {claim.high:.4f}",
                f"{claim.direction} {claim.threshold:g}",
                "yes" if claim.holds else "**no**",
            )
        )
    controls = ", ".join(f"{name} {value:.4f}" for name, value in result.controls.items())
    told = [
        f"Scale {result.scale}, {result.seeds} seeds, state: {find_system(str(number)).state}. The interval is that of "
        f"ours, or of ours − baseline where there is one.",
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows),
        *([f"Controls: {controls}."] if controls else []),
        *([f"Stand-ins: {'; '.join(result.stand_ins)}."] if result.stand_ins else []),
    ]
    return "\n\n".join(told)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a table is stale")
    options = parser.parse_args(arguments)
    for page in sorted((root / "docs" / "systems").glob("*.md")):
        text = fresh = page.read_text(encoding="utf-8")
        for number in re.findall(r"<!-- claims (\d+):begin -->", text):
            fresh = with_block(fresh, f"claims {number}", claims_table(int(number), root / "results"), page.name)
        if not options.check:
            page.write_text(fresh, encoding="utf-8")
        elif fresh != text:
            raise SystemExit(f"{page.name} is stale; run: python scripts/write_claims_tables.py")


if __name__ == "__main__":
    main()
