"""Explain EfficientNet-Lite0 on four photographs by VALE, and draw them into docs/pictures/visual-language-photos.webp.

    python scripts/measure_real_explanations.py [--evaluations 300]

The classifier is ``bundled:efficientnet-lite0`` (extra ``imagenet``); the photographs are four of ``known:photos`` that
their package calls CC0 or public domain. The segmenter is GrabCut (extra ``opencv``), prompted by the place of the most
evidence; no captioner for photographs is bundled, so that nobody speaks. Writes docs/measured/real-explanations.json.
Takes about five minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from PIL import Image

import snellen
from snellen.systems.visual_language.method import VisualLanguage
from snellen.verbs.explained_files import MASKS

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "docs" / "measured" / "real-explanations.json"
PICTURE = ROOT / "docs" / "pictures" / "visual-language-photos.webp"

#: Photograph → licence, as scikit-image states it.
SHOWN = {
    "scikit-image/camera.png": "CC0-1.0, Lav Varshney",
    "scikit-image/chelsea.png": "CC0-1.0, Stefan van der Walt",
    "scikit-image/coffee.png": "CC0-1.0, Rachel Michetti, courtesy of Pikolo Espresso Bar",
    "scikit-image/rocket.jpg": "public domain, SpaceX",
}


def main() -> None:
    """Explain, write the figures, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=300)
    given = parser.parse_args()
    photos = snellen.load_images("known:photos")
    chosen = photos.select([photos.ids.index(name) for name in SHOWN])
    method = VisualLanguage(
        attribution={"method": "partition_shap", "fill": "telea", "budget": given.evaluations},
        segmenter="grabcut",
        captioner=None,
    )
    classifier = snellen.load_classifier("bundled:efficientnet-lite0")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        explained = snellen.explain(classifier, chosen, method, out=out, batch_size=1)
        sheets = sorted((out / "visual_language").glob("*.png"))
        assert (out / "visual_language" / MASKS).is_dir()
        _draw(sheets)
    assert explained.evidence is not None
    rows = [
        {
            "photograph": row["example_id"],
            "licence": SHOWN[row["example_id"]],
            "explained": classifier.class_names[row["target"]].partition(",")[0],
            "probability": round(row["value"], 4),
            "status": row["reason"] or "ok",
            "x": row["x"],
            "y": row["y"],
            **{
                name: None if row[name] is None else round(row[name], 4)
                for name in row
                if name.startswith(("figure.", "control."))
            },
        }
        for row in explained.evidence.table.to_pylist()
    ]
    RESULT.write_text(json.dumps({"evaluations": given.evaluations, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1))


def _draw(sheets: list[Path]) -> None:
    """The sheets below each other."""
    pictures = [Image.open(sheet).convert("RGB") for sheet in sheets]
    whole = Image.new("RGB", (max(one.width for one in pictures), sum(one.height for one in pictures)), "white")
    top = 0
    for one in pictures:
        whole.paste(one, (0, top))
        top += one.height
    whole.save(PICTURE, "WEBP", quality=82, method=6)


if __name__ == "__main__":
    main()
