"""Tables of the scan for backdoors in thirty networks, from docs/measured/backdoor-scan.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table

WAYS = {
    "against_clean_models": "the scan, against five clean networks of the world",
    "among_classes": "the same rates, among the classes alone",
    "masks": "Neural Cleanse, from 100 images",
    "masks_of_one": "Neural Cleanse, from one image",
}


def ways_table(summary: Mapping[str, Any]) -> str:
    """A row for each way of finding planted triggers."""
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
    return markdown_table(["way", "AUC", "planted target ranked first", "planted flagged", "clean flagged"], rows)


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
    return markdown_table(head, rows)


def study(measured: Mapping[str, Any]) -> str:
    """Everything between the markers."""
    summary, models = measured["summary"], measured["models"]
    clean = [row for row in models if row["group"] != "planted"]
    seconds = summary["mean_seconds"]
    accuracy = {world: [row["accuracy"] for row in clean if row["world"] == world] for world in ("garments", "scenes")}
    accuracies = "; ".join(f"{min(values):.1%} to {max(values):.1%} on {world}" for world, values in accuracy.items())
    return "\n\n".join(
        [
            ways_table(summary),
            networks_table(models),
            f"Clean networks are right on {accuracies}. Processor time of a network: {seconds['training_s']:.0f} s of "
            f"training, "
            f"{seconds['scan_s']:.0f} s of scan, {seconds['masks_s']:.0f} s of Neural Cleanse from 100 images "
            f"and {seconds['masks_of_one_s']:.0f} s from one.",
        ]
    )


TABLES: Tables = {"docs/systems/smooth_inversion.md": {"study": from_measured("backdoor-scan", study)}}
