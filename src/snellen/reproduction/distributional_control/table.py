"""Tables of the causes of two missed bars, from docs/measured/control-causes and the record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from snellen.reproduction.sample import mean_of
from snellen.reproduction.seed_file import read_seeds
from snellen.reproduction.shared.documents import Tables, markdown_table, read_all_measured


def targets_table(root: Path) -> str:
    """A row for each weight of the target, and for images in which the guides are certain; a column for each seed."""
    found = read_all_measured(root, "control-causes", "target-*")
    rows = [
        [
            "equal shares, divergence (bar: below 0.03)",
            *(f"{one['balanced']['divergence']:.4f}" for one in found),
        ]
    ]
    for place, first in enumerate(found[0]["joint"]):
        text = f"both attributes, λ = {first['weight']:g} (bar: above 0.80)"
        rows.append([text, *(_both(one["joint"][place]) for one in found)])
    for place, first in enumerate(found[0]["certain"]):
        text = f"both attributes, where the guides give them more than {first['least']:g}"
        rows.append([text, *(_both(one["certain"][place]) for one in found)])
    return markdown_table(["what the judge sees in the target itself", *(f"seed {one['seed']}" for one in found)], rows)


def fits_table(root: Path) -> str:
    """A row for each control that was fitted with other numbers, beside that of the record."""
    recorded = {one.seed: one.measured() for one in read_seeds(root / "results", "distributional_control")}
    metrics = {"balanced": ("divergence", "balanced.divergence"), "joint": ("both", "joint.hit")}
    rows = []
    for control, (key, metric) in metrics.items():
        for one in read_all_measured(root, "control-causes", f"{control}-*"):
            before = mean_of(recorded[one["seed"]][metric])
            rows.append(
                [
                    f"{control}, seed {one['seed']}",
                    f"{before:.4f}",
                    f"{one[key]:.4f}",
                    f"{600 * one['times']:,}" + (f", λ = {one['weight']:g}" if one.get("weight") else ""),
                    f"{one['nats_to_target']:.3f}",
                ]
            )
    head = ["control", "record, 600 steps", "changed", "steps and λ", "nats to its target that are left"]
    return markdown_table(head, rows)


def _both(one: Mapping[str, float]) -> str:
    return f"{one['both']:.3f} (of {one['effective']:.0f})"


TABLES: Tables = {
    "docs/systems/distributional_control.md": {"control-targets": targets_table, "control-fits": fits_table}
}
