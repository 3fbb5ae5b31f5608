"""Write what EfficientNet-Lite0 makes of edited cut-outs into docs/systems/attribute_editing.md.

    python scripts/write_real_edits_table.py [--check]

The figures are those of docs/measured/real-edits.json; scripts/measure_real_edits.py put them there. ``--check`` writes
nothing and fails when the page is stale.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from write_optotype_tables import table
from write_systems_table import with_block

PAGE = Path(__file__).parents[1] / "docs" / "systems" / "attribute-editing.md"
MEASURED = PAGE.parents[1] / "measured" / "real-edits.json"

GROUNDS = {
    "white": "white",
    "grey": "grey",
    "black": "black",
    "surface": "photograph of a surface",
    "scene": "photograph of a scene",
}


def grounds_table(found: Mapping[str, Any]) -> str:
    """How many there are; a row for each ground behind the unedited cut-outs, beside white."""
    told = (
        f"{found['stamps']} stamps of {found['classes']} classes, which cover {found['object_share']:.0%} of the image."
    )
    rows = []
    for key, name in GROUNDS.items():
        one = found["grounds"][key]
        lost = ["", ""] if key == "white" else [f"{one['of_those_right']:.1%}", _drop(one)]
        rows.append([name, f"{one['accuracy']:.1%}", *lost])
    return f"{told}\n\n" + table(["ground", "right", "of those that are right on white", "lost of all (95 %)"], rows)


def edits_table(found: Mapping[str, Any]) -> str:
    """A row for each edit: right, and lost, before each background."""
    names = list(found["edits"])
    rows = [["unedited", *(f"{found['edits'][name]['accuracy']:.1%}" for name in names)]]
    for kind in found["edits"][names[0]]["kinds"]:
        told = [found["edits"][name]["kinds"][kind] for name in names]
        rows.append([f"`{kind}`", *(f"{one['accuracy']:.1%} · {_drop(one)}" for one in told)])
    return table(["right · lost, in points (95 %)", *names], rows)


def lost_table(found: Mapping[str, Any]) -> str:
    """A row for each attribute: how many of the images that are right unedited any of its edits makes wrong."""
    names = list(found["edits"])
    attributes = list(found["edits"][names[0]]["lost_by"])
    rows = [[name, *(str(found["edits"][one]["lost_by"][name]) for one in names)] for name in attributes]
    rows.append(["any of them", *(str(found["edits"][one]["lost_by_any"]) for one in names)])
    rows.append(["right unedited", *(str(round(_images(found, one))) for one in names)])
    return table(["wrong by", *names], rows)


def _images(found: Mapping[str, Any], name: str) -> float:
    told = found["edits"][name]
    return float(told["accuracy"]) * int(told["images"])


def _drop(told: Mapping[str, float]) -> str:
    drop, low, high = (100 * told[name] for name in ("drop", "low", "high"))
    return f"{drop:.1f} ({low:.1f} to {high:.1f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    chosen = parser.parse_args(arguments)
    found = json.loads(MEASURED.read_text(encoding="utf-8"))
    written = text = PAGE.read_text(encoding="utf-8")
    for name, block in (
        ("real-grounds", grounds_table(found)),
        ("real-edits", edits_table(found)),
        ("real-losses", lost_table(found)),
    ):
        written = with_block(written, name, block, PAGE.name)
    if chosen.check and written != text:
        raise SystemExit(f"{PAGE.name} is stale; run python scripts/write_real_edits_table.py")
    if not chosen.check:
        PAGE.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
