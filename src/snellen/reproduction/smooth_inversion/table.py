"""Tables of the scan for backdoors in thirty networks, from docs/measured/backdoor-scan.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table, measured_path, read_measured

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


def ward(measured: Mapping[str, Any]) -> str:
    """The scan of planted and healthy classifiers (scripts/ward/backdoors.py): figures, cells, and what is not met."""
    planted = sorted((row for row in measured["classifiers"] if row["planted"]), key=lambda row: row["name"])
    rows = [
        [
            f"{row['trigger']}, {row['percent']} %",
            f"{row['world']}, {row['network']}",
            f"{row['success']:.0%}",
            f"{row['ranking'].index(row['target']) + 1}",
            f"{row['statistic']:.1f}",
            "not learnt"
            if row["name"] in measured["not_learnt"]
            else "yes"
            if row["target"] in row["reported"]
            else "no",
        ]
        for row in planted
    ]
    cells = markdown_table(["trigger", "classifier", "trigger sends", "rank of target", "score", "reported"], rows)
    if "auroc" not in measured:
        return cells
    counts = {name: measured[name]["count"] for name in ("target_first", "reported", "alarms")}
    low, high = measured["alarms"]["interval"]
    beside, fresh = measured["alarms_beside_pilot"], measured["reported_beside_pilot"]
    unmet = "; ".join(f"{name}: {', '.join(cells) or 'none'}" for name, cells in measured["unmet"].items())
    return "\n\n".join(
        [
            f"{measured['planted']} planted classifiers whose trigger was learnt, {measured['healthy']} healthy ones, "
            f"all with the settings of the package: AUC {measured['auroc']:.2f}. The target is first in "
            f"{counts['target_first']} and reported in {counts['reported']} of {measured['planted']} "
            f"({fresh['count']} of the {fresh['of']} that settings were not chosen on). "
            f"{counts['alarms']} of {measured['healthy']} healthy ones are reported ({low:.0%} to {high:.0%}); "
            f"{beside['count']} of the {beside['of']} that settings were not chosen on. "
            f"{measured['mean_seconds']:.0f} s of one core for a scan.",
            cells,
            f"Not as it should be: {unmet}.",
        ]
    )


def beside_cleanse(measured: Mapping[str, Any]) -> str:
    """The scan and Neural Cleanse on the same classifiers and images (scripts/ward/cleanse.py)."""
    both = [measured["snellen"], measured["neural_cleanse"]]
    planted, healthy = measured["planted"], measured["healthy"]
    rows = [
        ["area under the ROC curve", *(f"{one['auroc']:.2f}" for one in both)],
        [f"target first, of {planted} planted", *(str(one["target_first"]) for one in both)],
        [f"target reported, of {planted}", *(str(one["target_reported"]) for one in both)],
        [f"reported, of {healthy} healthy", *(str(one["alarms"]) for one in both)],
        ["seconds of one core", *(f"{one['mean_seconds']:.0f}" for one in both)],
    ]
    return (
        f"Beside it Neural Cleanse, {measured['steps']} steps a class, on the same images of {planted + healthy} of "
        f"these classifiers (`scripts/ward/cleanse.py`):\n\n"
        f"{markdown_table(['figure', 'this scan', 'Neural Cleanse'], rows)}"
    )


def ward_where_measured(root: Path) -> str:
    """Both, or how to measure the scan."""
    if not measured_path(root, "ward-backdoors").is_file():
        return "Not measured yet: `python scripts/ward/backdoors.py`."
    told = [ward(read_measured(root, "ward-backdoors"))]
    if measured_path(root, "ward-cleanse").is_file():
        told.append(beside_cleanse(read_measured(root, "ward-cleanse")))
    return "\n\n".join(told)


TABLES: Tables = {
    "docs/systems/smooth_inversion.md": {
        "study": from_measured("backdoor-scan", study),
        "ward": ward_where_measured,
    }
}
