"""Four photographs explained by EfficientNet-Lite0: docs/measured/real-explanations.json, and a picture of them.

The classifier is ``bundled:efficientnet-lite0`` (extra ``imagenet``). The photographs are four of ``known:photos`` that
their package calls CC0 or public domain. The segmenter is GrabCut (extra ``opencv``), prompted by the place of the most
evidence. No captioner for photographs is bundled, so there are no sentences. Takes about five minutes on one core.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from snellen.core.progress import Progress
from snellen.data.references import load_images
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.shared.documents import Measurements, measured_path, picture_path
from snellen.systems.visual_language.method import VisualLanguage
from snellen.verbs.explain import explain
from snellen.verbs.explained_files import MASKS

#: Photograph → licence, as scikit-image states it.
SHOWN = {
    "scikit-image/camera.png": "CC0-1.0, Lav Varshney",
    "scikit-image/chelsea.png": "CC0-1.0, Stefan van der Walt",
    "scikit-image/coffee.png": "CC0-1.0, Rachel Michetti, courtesy of Pikolo Espresso Bar",
    "scikit-image/rocket.jpg": "public domain, SpaceX",
}


def measure_photographs(root: Path, progress: Progress, *, evaluations: int = 300) -> None:
    """Explain, write the figures, draw."""
    photos = load_images("known:photos")
    chosen = photos.select([photos.ids.index(name) for name in SHOWN])
    method = VisualLanguage(
        attribution={"method": "partition_shap", "fill": "telea", "budget": evaluations},
        segmenter="grabcut",
        captioner=None,
    )
    classifier = load_classifier("bundled:efficientnet-lite0")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        explained = explain(classifier, chosen, method, out=out, batch_size=1, progress=progress)
        sheets = sorted((out / "visual_language").glob("*.png"))
        assert (out / "visual_language" / MASKS).is_dir()
        _draw(sheets, picture_path(root, "visual-language-photos"))
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
    text = json.dumps({"evaluations": evaluations, "rows": rows}, indent=1)
    measured_path(root, "real-explanations").write_text(f"{text}\n", encoding="utf-8")


def _draw(sheets: Sequence[Path], target: Path) -> None:
    """Draw the sheets below each other."""
    pictures = [Image.open(sheet).convert("RGB") for sheet in sheets]
    whole = Image.new("RGB", (max(one.width for one in pictures), sum(one.height for one in pictures)), "white")
    top = 0
    for one in pictures:
        whole.paste(one, (0, top))
        top += one.height
    whole.save(target, "WEBP", quality=82, method=6)


MEASUREMENTS: Measurements = {"photographs": measure_photographs}
