"""Tables of attributions in docs/explaining.md: how well they find objects, how far they hold, and beside peers.

The figures are those of docs/measured/attributions.json (scripts/measure_attributions.py) and of
docs/measured/explain.json (benchmarks/explain/compare.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table


def truth_table(found: Mapping[str, Any]) -> str:
    """A row for each attribution, beside its maps moved, and for places that need none: hits, and overlaps."""
    rows = [
        [
            f"`{name.replace('_', '-')}`",
            f"{one['hits']:.2f}",
            f"{one['hits_near']:.2f}",
            f"{one['control.hits']:.2f}",
            f"{one['overlap']:.2f}",
            f"{one['control.overlap']:.2f}",
            f"{one['region']:.2f}",
            f"{one['missing']:.0f}",
        ]
        for name, one in found["methods"].items()
    ]
    for name in ("centre", "random"):
        label = {"centre": "centre of the image", "random": "a random pixel"}[name]
        hits, near, region = (f"{found[name][figure]:.2f}" for figure in ("hits", "hits_near", "region"))
        rows.append([label, hits, near, "", "", "", region, ""])
    near = f"within {found['tolerance']} pixels"
    head = ["", "hits", near, "moved", "overlap", "moved", "object seen there", "without a point"]
    return markdown_table(head, rows)


def faithfulness_table(found: Mapping[str, Any]) -> str:
    """A row for each attribution: what its maps foretell, each figure beside that of the maps moved."""
    names = ("deletion", "insertion", "infidelity", "sensitivity", "randomisation")
    rows = [
        [
            f"`{name.replace('_', '-')}`",
            *(f"{one[figure]:.2f} ({one[f'control.{figure}']:.2f})" for figure in names),
            f"{one['completeness_gap']:.0e}" if one.get("completeness_gap") is not None else "–",
            f"{one['queries'] - 64:.0f}",
            f"{one['gradients']:.0f}",
        ]
        for name, one in found["methods"].items()
    ]
    return markdown_table(["", *names, "completeness gap", "queries", "gradients"], rows)


def peers_table(found: Mapping[str, Any]) -> str:
    """A row for each comparison: the largest difference, and our time over the peer's, for each network."""
    problems = [name for name in ("fashion", "scenes", "resnet") if name in found]
    rows = []
    for filling in ("constant", "blur", "telea"):
        start = f"partition_shap.{filling}"
        for batch in (10, 64):
            if any(f"{start}.time.over_batch_{batch}" in found[name] for name in problems):
                cells = [
                    _cell(
                        found[name],
                        f"{start}.largest_difference.batch_{batch}",
                        f"{start}.time.over_batch_{batch}",
                        f"{start}.overhead.over_batch_{batch}",
                    )
                    for name in problems
                ]
                rows.append([f"Partition SHAP, {filling}; shap, batches of {batch}", *cells])
    for label, difference, time in (
        (
            "integrated gradients; captum",
            "integrated_gradients.largest_difference",
            "integrated_gradients.time.over_captum",
        ),
        ("Grad-CAM; captum", "grad_cam.largest_difference", "grad_cam.time.over_captum"),
        ("deletion curve; quantus, a query", "deletion.largest_difference", "deletion.time_per_query.over_quantus"),
    ):
        rows.append([label, *(_cell(found[name], difference, time) for name in problems)])
    heads = [f"{name}, {found[name]['pixels']} pixels" for name in problems]
    return markdown_table(["ours; peer", *heads], rows)


def _cell(figures: Mapping[str, float], difference: str, *ratios: str) -> str:
    if difference not in figures:
        return "–"
    return f"{figures[difference]:.0e} · {' · '.join(f'{figures[name]:.2f}' for name in ratios)}"


TABLES: Tables = {
    "docs/explaining.md": {
        "truth": from_measured("attributions", truth_table),
        "faithfulness": from_measured("attributions", faithfulness_table),
        "peers": from_measured("explain", peers_table),
    }
}
