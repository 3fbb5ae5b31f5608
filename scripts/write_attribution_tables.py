"""Write how well attributions find objects, how far they hold, and how they compare with peers into docs/explaining.md.

    python scripts/write_attribution_tables.py [--check]

The figures are those of docs/measured/attributions.json (scripts/measure_attributions.py) and of
docs/measured/explain.json (benchmarks/explain/compare.py). ``--check`` writes nothing and fails when the page is stale.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from write_optotype_tables import table
from write_systems_table import with_block

PAGE = Path(__file__).parents[1] / "docs" / "explaining.md"
MEASURED = PAGE.parent / "measured"


def truth_table(found: Mapping[str, Any]) -> str:
    """A row for each attribution, beside its maps moved, and for places that need none: hits, and overlaps."""
    rows = [
        [
            f"`{name.replace('_', '-')}`",
            f"{told['hits']:.2f}",
            f"{told['hits_near']:.2f}",
            f"{told['control.hits']:.2f}",
            f"{told['overlap']:.2f}",
            f"{told['control.overlap']:.2f}",
            f"{told['region']:.2f}",
            f"{told['missing']:.0f}",
        ]
        for name, told in found["methods"].items()
    ]
    for name in ("centre", "random"):
        label = {"centre": "centre of the image", "random": "a random pixel"}[name]
        hits, near, region = (f"{found[name][figure]:.2f}" for figure in ("hits", "hits_near", "region"))
        rows.append([label, hits, near, "", "", "", region, ""])
    near = f"within {found['tolerance']} pixels"
    head = ["", "hits", near, "moved", "overlap", "moved", "object seen there", "without a point"]
    return table(head, rows)


def faithfulness_table(found: Mapping[str, Any]) -> str:
    """A row for each attribution: what its maps foretell, each figure beside that of the maps moved."""
    names = ("deletion", "insertion", "infidelity", "sensitivity", "randomisation")
    rows = [
        [
            f"`{name.replace('_', '-')}`",
            *(f"{told[figure]:.2f} ({told[f'control.{figure}']:.2f})" for figure in names),
            f"{told['completeness_gap']:.0e}" if told.get("completeness_gap") is not None else "–",
            f"{told['queries'] - 64:.0f}",
            f"{told['gradients']:.0f}",
        ]
        for name, told in found["methods"].items()
    ]
    return table(["", *names, "completeness gap", "queries", "gradients"], rows)


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
    return table(["ours; peer", *heads], rows)


def _cell(figures: Mapping[str, float], difference: str, *ratios: str) -> str:
    if difference not in figures:
        return "–"
    return f"{figures[difference]:.0e} · {' · '.join(f'{figures[name]:.2f}' for name in ratios)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    chosen = parser.parse_args(arguments)
    text = written = PAGE.read_text(encoding="utf-8")
    attributions = json.loads((MEASURED / "attributions.json").read_text(encoding="utf-8"))
    peers = json.loads((MEASURED / "explain.json").read_text(encoding="utf-8"))
    for name, block in (
        ("truth", truth_table(attributions)),
        ("faithfulness", faithfulness_table(attributions)),
        ("peers", peers_table(peers)),
    ):
        written = with_block(written, name, block, PAGE.name)
    if chosen.check and written != text:
        raise SystemExit(f"{PAGE.name} is stale; run python scripts/write_attribution_tables.py")
    if not chosen.check:
        PAGE.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
