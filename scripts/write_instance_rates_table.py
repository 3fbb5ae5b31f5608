"""Write how well every way of system 36 does at every share of positives into docs/systems/multiple_instance.md.

    python scripts/write_instance_rates_table.py [--check]

The figures are those of docs/measured/instance-rates.json; scripts/measure_instance_rates.py put them there.
``--check`` writes nothing and fails when the page is stale.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from write_optotype_tables import table
from write_systems_table import with_block

from snellen.reproduction.multiple_instance.materials import RATES, WORLDS
from snellen.reproduction.multiple_instance.ways import RIVALS

PAGE = Path(__file__).parents[1] / "docs" / "systems" / "instance-classifiers.md"
MEASURED = PAGE.parents[1] / "measured" / "instance-rates.json"
PERCENT = [f"{round(100 * rate)}" for rate in RATES]


def rates_table(found: Mapping[str, Mapping[str, float]]) -> str:
    """A row for each way of each world: mean AUROC of instances / of bags over the seeds, and the chosen rates."""
    rows = []
    for world in WORLDS:
        for way in ("ins", *RIVALS):
            cells = [
                " / ".join(
                    f"{np.mean([figures[f'{world}.{percent}.{way}.{what}'] for figures in found.values()]):.2f}"
                    for what in ("instance_auroc", "bag_auroc")
                )
                for percent in PERCENT
            ]
            chosen = sorted({figures[f"{world}.10.{way}.learning_rate"] for figures in found.values()})
            rows.append([world, f"`{way}`", *cells, ", ".join(f"{rate:g}" for rate in chosen)])
    return table(["world", "way", *(f"{percent} %" for percent in PERCENT), "learning rates chosen"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    chosen = parser.parse_args(arguments)
    text = PAGE.read_text(encoding="utf-8")
    found = json.loads(MEASURED.read_text(encoding="utf-8"))
    written = with_block(text, "rates", rates_table(found), PAGE.name)
    if chosen.check and written != text:
        raise SystemExit(f"{PAGE.name} is stale; run python scripts/write_instance_rates_table.py")
    if not chosen.check:
        PAGE.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
