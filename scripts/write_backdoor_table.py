"""Write what the scan for backdoors found in thirty networks into docs/systems/smooth_inversion.md.

    python scripts/write_backdoor_table.py [--check]

The figures are those of docs/measured/backdoor-scan.json; scripts/measure_backdoor_scan.py put them there.
``--check`` writes nothing and fails when the page is stale.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from write_optotype_tables import table
from write_systems_table import with_block

PAGE = Path(__file__).parents[1] / "docs" / "systems" / "backdoor-inversion.md"
MEASURED = PAGE.parents[1] / "measured" / "backdoor-scan.json"

WAYS = {
    "against_clean_models": "the scan, against five clean networks of the world",
    "among_classes": "the same rates, among the classes alone",
    "masks": "Neural Cleanse, from 100 images",
    "masks_of_one": "Neural Cleanse, from one image",
}


def ways_table(summary: Mapping[str, Any]) -> str:
    """A row for each way of telling."""
    rows = []
    for key, name in WAYS.items():
        found = summary[key]
        low, high = found["false_alarms_95"]
        first_low, first_high = found["target_first_95"]
        rows.append(
            [
                name,
                f"{found['auroc']:.2f}",
                f"{found['target_first']} of {summary['planted']} ({first_low:.0%} to {first_high:.0%})",
                f"{found['told_planted']} of {summary['planted']}",
                f"{found['false_alarms']} of {summary['clean']} ({low:.0%} to {high:.0%})",
            ]
        )
    return table(["way", "AUC", "planted target ranked first", "planted told", "clean told"], rows)


def networks_table(models: Sequence[Mapping[str, Any]]) -> str:
    """A row for each planted network."""
    rows = []
    for row in models:
        if row["group"] != "planted":
            continue
        rows.append(
            [
                f"{row['kind']}, {row['world']}",
                f"{row['accuracy']:.1%}",
                f"{row['true_success']:.1%}",
                f"{row['ranking'].index(row['target']) + 1}",
                f"{row['statistic']:.1f}",
                f"{row['target_success']:.1%}" if "target_success" in row else "not recovered",
                f"{row['energy_inside']:.0%} in {row['region_share']:.0%}" if "energy_inside" in row else "",
                f"{row['p_value']:.2f}",
                f"{row['masks_ranking'].index(row['target']) + 1}",
            ]
        )
    head = [
        "trigger",
        "accuracy",
        "true trigger sends",
        "rank of target",
        "spreads",
        "recovered change sends",
        "its energy in the trigger's region",
        "p by rank",
        "rank by Neural Cleanse",
    ]
    return table(head, rows)


def block(measured: Mapping[str, Any]) -> str:
    """Everything between the markers."""
    summary, models = measured["summary"], measured["models"]
    clean = [row for row in models if row["group"] != "planted"]
    seconds = summary["mean_seconds"]
    accuracy = {world: [row["accuracy"] for row in clean if row["world"] == world] for world in ("garments", "scenes")}
    told = "; ".join(f"{min(values):.1%} to {max(values):.1%} on {world}" for world, values in accuracy.items())
    return "\n\n".join(
        [
            ways_table(summary),
            networks_table(models),
            f"Clean networks are right on {told}. Processor time of a network: {seconds['training_s']:.0f} s of "
            f"training, "
            f"{seconds['scan_s']:.0f} s of scan, {seconds['masks_s']:.0f} s of Neural Cleanse from 100 images "
            f"and {seconds['masks_of_one_s']:.0f} s from one.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    chosen = parser.parse_args(arguments)
    text = PAGE.read_text(encoding="utf-8")
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    written = with_block(text, "study", block(measured), PAGE.name)
    if chosen.check and written != text:
        raise SystemExit(f"{PAGE.name} is stale; run python scripts/write_backdoor_table.py")
    if not chosen.check:
        PAGE.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
