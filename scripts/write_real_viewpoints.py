"""Write what furniture showed of EfficientNet-Lite0's cameras into docs/systems/viewpoints.md, and draw it.

    python scripts/write_real_viewpoints.py [--check] [--sheet furniture-attacked/sheet-viewpoint_attack-1.png]

The figures are those of docs/measured/real-viewpoints.json (scripts/measure_real_viewpoints.py). ``--check`` writes
nothing and fails when the page is stale. With ``--sheet``, a sheet of the attack, the map of the random views is drawn
above that sheet into docs/pictures/viewpoints-furniture.webp.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from write_optotype_tables import table
from write_systems_table import with_block

from snellen.systems.viewpoints.map_picture import map_picture

PAGE = Path(__file__).parents[1] / "docs" / "systems" / "viewpoints.md"
MEASURED = PAGE.parents[1] / "measured" / "real-viewpoints.json"
PICTURE = PAGE.parents[1] / "pictures" / "viewpoints-furniture.webp"


def accuracy_table(found: Mapping[str, Any]) -> str:
    """Accuracy on natural views, on views from anywhere, and under attack."""
    figures, attacked = found["figures"], found["under attack"]
    all_of_them = f"all {found['counts']['objects']}"
    rows = [
        [all_of_them, "natural", _interval(figures["natural.right"]), _interval(figures["natural.in_five"])],
        [all_of_them, "from anywhere", _interval(figures["any.right"]), _interval(figures["any.in_five"])],
        *(
            [f"the {len(found['attacked'])} attacked", words, _interval(attacked[kind]), ""]
            for kind, words in (("natural", "natural"), ("random", "from anywhere"), ("attacked", "under attack"))
        ),
    ]
    return table(["objects", "views", "right", "right among five"], rows)


def attacked_table(found: Mapping[str, Any]) -> str:
    """A row for each object whose camera was attacked."""
    rows = [
        [
            f"{one['object_id']} ({one['class_name'].partition(',')[0]})",
            *("–" if one[kind] is None else f"{one[kind]:.2f}" for kind in ("natural", "random", "attacked")),
            (one["taken_for"] or "–").partition(",")[0],
            "–" if one["entropy"] is None else f"{one['entropy']:.1f}",
        ]
        for one in found["attacked"]
    ]
    return table(["object", "natural", "from anywhere", "under attack", "most often taken for", "entropy, nats"], rows)


def map_table(found: Mapping[str, Any]) -> str:
    """Accuracy by azimuth and elevation, from above on top."""
    mapped = found["map"]
    columns = list(zip(mapped["azimuths"], mapped["azimuths"][1:], strict=False))
    bands = list(zip(mapped["elevations"], mapped["elevations"][1:], mapped["right"], strict=False))
    rows = [
        [f"{low:.0f}° to {high:.0f}°", *("–" if value is None else f"{value:.2f}" for value in values)]
        for low, high, values in reversed(bands)
    ]
    return table(["elevation, by azimuth", *(f"{low:.0f}° to {high:.0f}°" for low, high in columns)], rows)


def drawn(found: Mapping[str, Any], sheet: Path) -> Image.Image:
    """The map above a sheet of objects, whose lines name their makers."""
    mapped = found["map"]
    above = map_picture(
        np.array(mapped["right"], dtype=np.float64),
        tuple(mapped["azimuths"]),
        tuple(mapped["elevations"]),
        f"Right decisions on views of {found['counts']['objects']} pieces of furniture",
    )
    with Image.open(sheet) as below:
        whole = Image.new("RGB", (max(above.width, below.width), above.height + below.height), "white")
        whole.paste(above, (0, 0))
        whole.paste(below.convert("RGB"), (0, above.height))
    return whole


def _interval(figure: Mapping[str, float | None]) -> str:
    low, high = (f"{figure[end]:.3f}" for end in ("low", "high"))
    return f"{figure['value']:.3f} ({low} to {high})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables, or check them; draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    parser.add_argument("--sheet", type=Path, help="sheet of the attack that is shown below the map")
    chosen = parser.parse_args(arguments)
    text = PAGE.read_text(encoding="utf-8")
    found = json.loads(MEASURED.read_text(encoding="utf-8"))
    blocks = {"furniture": accuracy_table, "furniture-map": map_table, "furniture-attacked": attacked_table}
    written = text
    for name, made in blocks.items():
        written = with_block(written, name, made(found), PAGE.name)
    if chosen.check and written != text:
        raise SystemExit(f"{PAGE.name} is stale; run python scripts/write_real_viewpoints.py")
    if not chosen.check:
        PAGE.write_text(written, encoding="utf-8")
    if chosen.sheet is not None:
        drawn(found, chosen.sheet).save(PICTURE, "WEBP", quality=80, method=6)


if __name__ == "__main__":
    main()
