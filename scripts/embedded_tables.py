"""Tables of the embedded models in docs/embedded-models.md.

The figures are in docs/measured/embedded-*.json; embedded/measure_*.py put them there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snellen.reproduction.shared.documents import Tables, from_measured, markdown_table

#: Folder of the embedded models in a working copy.
MODELS = Path("distributions") / "snellen-models" / "src" / "snellen_models"


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
    return markdown_table(["asked", "right", "worst value"], rows)


def scene_diffusion_table(found: Mapping[str, Any]) -> str:
    """Agreement of the judge at each guidance scale, beside reconstructions and real pictures."""
    factors = ("shape", "colour", "texture", "background")
    between = {"real": "real against real", "reconstructed": "reconstructed against real"}
    lines = {
        **{f"guidance {scale}": {**one} for scale, one in found["scales"].items()},
        **{f"{name} pictures": {**found[name], **found[other]} for name, other in between.items()},
    }
    rows = [
        [
            name,
            *(f"{span(one[factor])}; {worst(one[factor])}" for factor in factors),
            f"{100 * one['all']:.1f} %",
            f"{one['coverage']:.2f}",
            f"{one['frechet']:.2f}",
        ]
        for name, one in lines.items()
    ]
    return markdown_table(["pictures", *factors, "all four", "coverage", "Fréchet distance"], rows)


def fog_table(found: Mapping[str, Any]) -> str:
    """What the judge reads of fog."""
    rows = [[name, f"{found['fog'][name]:.2f}"] for name in ("not asked", "asked", "real")]
    return markdown_table(["fog", "strength that the judge reads, of the strongest"], rows)


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
    return markdown_table(["pictures", *(f"`{judge}`" for judge in judges), "coverage", "Fréchet distance"], rows)


def scene_painter_table(found: Mapping[str, Any]) -> str:
    """What is made of noise, of empty scenes and around an object, and how many objects a counter sees there."""
    drawn = found["drawn"]
    rows = [
        ["drawn empty scenes", *_seen(drawn["empty"]), "", ""],
        ["drawn scenes with one object", *_seen(drawn["around"]), "", ""],
        ["object pasted before its background", "", "", "", f"{drawn['pasted']:.3f}", ""],
    ]
    for name, one in found["generators"].items():
        rows.append([f"`{name}`: made of noise", *_seen(one["made"]), "", ""])
        for key, what in (("empty", "an empty scene, noised and denoised"), ("around", "around an object that stays")):
            trip = one[key]
            rows.append(
                [f"`{name}`: {what}", *_seen(trip["objects"]), f"{trip['error']:.3f}", span(trip["drawn"])],
            )
    head = ["pictures", "counted: none", "one", "two", "mean absolute error", "something drawn"]
    return markdown_table(head, rows)


def _seen(one: Mapping[str, Any]) -> list[str]:
    return [f"{100 * one[number]['share']:.1f} %" for number in ("0", "1", "2")]


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
    return markdown_table(["mean intersection over union", *names], rows)


def captioner_table(found: Mapping[str, Any]) -> str:
    """Factors that are true, of those that are stated."""
    rows = [[name, f"{100 * one['stated']:.0f} %", span(one), worst(one)] for name, one in found["factors"].items()]
    rows.append(["all", "", span(found["all stated factors"]), ""])
    rows.append(["one caption for all images", "", span(found["constant caption"]), ""])
    rows.append(["captions that cannot be read", "", span(found["not readable"]), ""])
    return markdown_table(["factor", "stated", "true", "worst value"], rows)


def tileability_table(found: Mapping[str, Any]) -> str:
    """Areas under the ROC curve by failure."""
    kinds = list(next(iter(next(iter(found.values())).values())))
    rows = [
        [
            where,
            name,
            *(f"{one[kind]['area']:.2f} ({one[kind]['low']:.2f} – {one[kind]['high']:.2f})" for kind in kinds),
        ]
        for where, both in found.items()
        for name, one in both.items()
    ]
    return markdown_table(["textures", "scored by", *kinds], rows)


def sizes_table(root: Path) -> str:
    """The size of each embedded model, and what its training took."""
    rows = []
    for record in sorted((root / MODELS).glob("*/training.json")):
        trainings = json.loads(record.read_text(encoding="utf-8"))
        weights = sum(path.stat().st_size for path in record.parent.rglob("*.safetensors"))
        minutes = sum(one["seconds"]["processor"] for one in trainings.values()) / 60
        steps = " + ".join(f"{one['steps']:,}" for one in trainings.values())
        rows.append([f"`bundled:{record.parent.name}`", f"{weights / 1e6:.2f} MB", steps, f"{minutes:.0f}"])
    return markdown_table(["model", "weights", "steps", "processor minutes"], rows)


def span(one: Mapping[str, Any]) -> str:
    """A share with its interval, in percent."""
    return f"{100 * one['share']:.1f} % ({100 * one['low']:.1f} – {100 * one['high']:.1f})"


def worst(one: Mapping[str, Any]) -> str:
    """The value with the smallest share."""
    return f"{one['worst']['value']} {100 * one['worst']['share']:.1f} %"


TABLES: Tables = {
    "docs/embedded-models.md": {
        "sizes": sizes_table,
        "towers": from_measured("embedded-towers", towers_table),
        "scene-diffusion": from_measured("embedded-scene-diffusion", scene_diffusion_table),
        "fog": from_measured("embedded-scene-diffusion", fog_table),
        "scene-painter": from_measured("embedded-scene-painter", scene_painter_table),
        "fashion-diffusion": from_measured("embedded-fashion-diffusion", fashion_diffusion_table),
        "segmenter": from_measured("embedded-segmenter", segmenter_table),
        "captioner": from_measured("embedded-captioner", captioner_table),
        "tileability": from_measured("embedded-tileability", tileability_table),
    }
}
