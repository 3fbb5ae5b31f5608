"""Tables of what the scans of edited regions and tileability do on real images, in their pages.

The figures are made by scripts/measure_forensics.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table, measured_path

#: What the columns of binary IoU are called.
DISTORTED = {
    "clean": "as made",
    "jpeg:90": "JPEG of quality 90",
    "jpeg:70": "JPEG of quality 70",
    "resize:0.75": "resized to 0.75 and back",
}


def edits_table(found: Mapping[str, Any]) -> str:
    """A row for each figure: its mean over the seeds, and its ends where there are several."""
    seeds = found["seeds"]

    def ends(draw: Callable[[Mapping[str, Any]], float]) -> list[str]:
        values = [draw(one) for one in seeds]
        return [f"{mean(values):.3f}", f"{min(values):.3f} – {max(values):.3f}" if len(values) > 1 else ""]

    rows = [[f"binary IoU, {words}", *ends(lambda one, key=key: one["iou"][key])] for key, words in DISTORTED.items()]
    rows += [
        ["mIoU over labels", *ends(lambda one: one["semantic_miou"])],
        ["area under the ROC curve of whole images", *ends(lambda one: one["image_auroc"])],
        ["share of a moved region that is called edited", *ends(lambda one: one["called_edited"]["moved"])],
        ["share of a blurred region that is called edited", *ends(lambda one: one["called_edited"]["blurred"])],
        ["the check: share of edited training images that it reports", *ends(_recall)],
        ["the check: share of its reports that are edited", *ends(_precision)],
    ]
    if len(seeds) == 1:
        return markdown_table(["figure", "value"], [row[:2] for row in rows])
    return markdown_table(["figure", "mean", f"{len(seeds)} seeds"], rows)


def _recall(one: Mapping[str, Any]) -> float:
    return float(one["check"]["reported_and_edited"] / one["check"]["edited"])


def _precision(one: Mapping[str, Any]) -> float:
    return float(one["check"]["reported_and_edited"] / max(one["check"]["reported"], 1))


def tileability_table(found: Mapping[str, Any]) -> str:
    """A row for each kind of image that does not repeat, beside those that do."""
    rows = [
        [
            kind,
            str(one["images"]),
            f"{one['below_threshold']}",
            f"{found['median_ratio'][kind]:.1f}",
            f"{one['metric']:.2f}",
            f"{one['seam_ratio']:.2f}",
        ]
        for kind, one in found["against"].items()
    ]
    first = ["repeats, as it is", str(found["textures"]), str(found["textures"] - found["passed"])]
    first += [f"{found['median_ratio']['repeats']:.1f}", "", ""]
    head = ["images", "number", "called not repeating", "median jump", "area, metric", "area, jump alone"]
    return markdown_table(head, [first, *rows])


#: Nothing of what was not measured.
_ROOT = Path(__file__).parents[1]
_DRAWN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "real-edited-regions": ("docs/systems/edited_regions.md", edits_table),
    "real-tileability": ("docs/systems/tileability.md", tileability_table),
}
TABLES: Tables = {
    page: {name: from_measured(name, draw)}
    for name, (page, draw) in _DRAWN.items()
    if measured_path(_ROOT, name).is_file()
}
