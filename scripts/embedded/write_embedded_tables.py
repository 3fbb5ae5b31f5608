"""Write what was measured of the embedded models into docs/embedded-models.md, between its generated markers.

    python scripts/embedded/write_embedded_tables.py [--check]

The figures are in docs/measured/embedded-*.json; the scripts measure_*.py put them there. ``--check`` writes nothing
and fails when the page is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from write_optotype_tables import table
from write_systems_table import with_block

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "embedded-models.md"
MEASURED = ROOT / "docs" / "measured"
ASSETS = ROOT / "src" / "snellen" / "assets"


def towers_table(found: Mapping[str, Any]) -> str:
    """Zero-shot answers, retrieval and relations."""
    rows = []
    for name in ("held out", "seen"):
        for factor, one in found[f"zero-shot, {name}"].items():
            rows.append([f"{factor}, {name} combinations", span(one), worst(one)])
    retrieval = found["retrieval"]
    chance = f"chance {100 * retrieval['chance']:.1f} %"
    rows.append(["image by text, first of 500", span(retrieval["image by text"]), chance])
    rows.append(["text by image, first of 500", span(retrieval["text by image"]), chance])
    rows.append(["relation of two objects, against the turned-round one", span(found["relations"]), "chance 50 %"])
    return table(["asked", "right", "worst value"], rows)


def scene_diffusion_table(found: Mapping[str, Any]) -> str:
    """Agreement of the judge at each guidance scale, beside reconstructions and real pictures."""
    told = ("shape", "colour", "texture", "background")
    between = {"real": "real against real", "reconstructed": "reconstructed against real"}
    lines = {
        **{f"guidance {scale}": {**one} for scale, one in found["scales"].items()},
        **{f"{name} pictures": {**found[name], **found[other]} for name, other in between.items()},
    }
    rows = [
        [
            name,
            *(f"{span(one[factor])}; {worst(one[factor])}" for factor in told),
            f"{100 * one['all']:.1f} %",
            f"{one['coverage']:.2f}",
            f"{one['frechet']:.2f}",
        ]
        for name, one in lines.items()
    ]
    return table(["pictures", *told, "all four", "coverage", "Fréchet distance"], rows)


def fog_table(found: Mapping[str, Any]) -> str:
    """What the judge reads of fog."""
    rows = [[name, f"{found['fog'][name]:.2f}"] for name in ("not asked", "asked", "real")]
    return table(["fog", "strength that the judge reads, of the strongest"], rows)


def fashion_diffusion_table(found: Mapping[str, Any]) -> str:
    """Recognised as asked, by both classifiers."""
    judges = list(found["real"])
    lines = {
        **{f"guidance {scale}": one for scale, one in found["scales"].items()},
        "real pictures": {**found["real"], **found["real against real"]},
    }
    rows = [
        [
            name,
            *(f"{span(one[judge])}; {worst(one[judge])}" for judge in judges),
            f"{one['coverage']:.2f}",
            f"{one['frechet']:.2f}",
        ]
        for name, one in lines.items()
    ]
    return table(["pictures", *(f"`{judge}`" for judge in judges), "coverage", "Fréchet distance"], rows)


def segmenter_table(found: Mapping[str, Any]) -> str:
    """Mean overlap of each segmenter."""
    names = list(dict.fromkeys(name for one in found.values() for name in one))
    rows = [
        [
            where,
            *(f"{one[n]['mean']:.3f} ({one[n]['low']:.3f} – {one[n]['high']:.3f})" if n in one else "–" for n in names),
        ]
        for where, one in found.items()
    ]
    return table(["mean intersection over union", *names], rows)


def captioner_table(found: Mapping[str, Any]) -> str:
    """Factors that are true, of those that are stated."""
    rows = [[name, f"{100 * one['stated']:.0f} %", span(one), worst(one)] for name, one in found["factors"].items()]
    rows.append(["all", "", span(found["all stated factors"]), ""])
    rows.append(["one caption for all images", "", span(found["constant caption"]), ""])
    rows.append(["captions that cannot be read", "", span(found["not readable"]), ""])
    return table(["factor", "stated", "true", "worst value"], rows)


def sizes_table() -> str:
    """What each folder weighs and what its training took."""
    rows = []
    for record in sorted(ASSETS.glob("*/training.json")):
        trainings = json.loads(record.read_text(encoding="utf-8"))
        weights = sum(path.stat().st_size for path in record.parent.rglob("*.safetensors"))
        minutes = sum(one["seconds"]["processor"] for one in trainings.values()) / 60
        steps = " + ".join(f"{one['steps']:,}" for one in trainings.values())
        rows.append([f"`bundled:{record.parent.name}`", f"{weights / 1e6:.2f} MB", steps, f"{minutes:.0f}"])
    return table(["model", "weights", "steps", "processor minutes"], rows)


def span(one: Mapping[str, Any]) -> str:
    """A share with its interval, in percent."""
    return f"{100 * one['share']:.1f} % ({100 * one['low']:.1f} – {100 * one['high']:.1f})"


def worst(one: Mapping[str, Any]) -> str:
    """The value with the least share."""
    return f"{one['worst']['value']} {100 * one['worst']['share']:.1f} %"


TABLES: Mapping[str, Callable[[Any], str]] = {
    "towers": towers_table,
    "scene-diffusion": scene_diffusion_table,
    "fashion-diffusion": fashion_diffusion_table,
    "segmenter": segmenter_table,
    "captioner": captioner_table,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    chosen = parser.parse_args(arguments)
    text = PAGE.read_text(encoding="utf-8")
    written = with_block(text, "sizes", sizes_table(), "docs/embedded-models.md")
    for name, draw in TABLES.items():
        if f"<!-- {name}:begin -->" in text:
            found = json.loads((MEASURED / f"embedded-{name}.json").read_text(encoding="utf-8"))
            written = with_block(written, name, draw(found), "docs/embedded-models.md")
    if "<!-- fog:begin -->" in text:
        found = json.loads((MEASURED / "embedded-scene-diffusion.json").read_text(encoding="utf-8"))
        written = with_block(written, "fog", fog_table(found), "docs/embedded-models.md")
    if chosen.check and written != text:
        raise SystemExit("docs/embedded-models.md is stale; run python scripts/embedded/write_embedded_tables.py")
    if not chosen.check:
        PAGE.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
