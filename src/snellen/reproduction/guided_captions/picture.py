"""Pictures of guided captions: the trade-off between two figures, and captions of a few images.

The trade-off comes from results/guided_captions.json. For the captions, the captioner is fine-tuned as the small
experiment does with seed 0, and captions test images at several scales; that takes some minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from snellen.core.preprocessing import to_image
from snellen.core.system import find_system
from snellen.metrics.pareto import knee
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.references import load_captioner
from snellen.reproduction.guided_captions.curves import ALPHAS, FEWER, SCALES, curve_of
from snellen.reproduction.guided_captions.experiment import SMALL_PLAN, SMALL_SIZES
from snellen.reproduction.guided_captions.vague_world import captioned
from snellen.reproduction.result import Result
from snellen.reproduction.shared.documents import Pictures
from snellen.systems.guided_captions.caption_rules import ClassifierFree
from snellen.systems.guided_captions.caption_tuning import encoded, tune_captioner

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 560, 80, 30, 20, 70
CURVES = {
    "cfg": ("captioner fine-tuned with dropped images (scale)", SCALES, "#0b5fa5"),
    "undropped": ("fine-tuned without (scale)", FEWER, "#c2571a"),
    "language": ("without; a language model as the other side (scale)", FEWER, "#2f7d32"),
    "style": ("towards a language model of full captions (alpha)", ALPHAS, "#7b3fa0"),
}


def trade_off(figures: Mapping[str, float]) -> Image.Image:
    """CIDEr against the vague references to the right, R@1 upwards; the knee of the first curve is ringed."""
    points = {
        curve: [(figures[f"{curve}_{value:g}.cider"], figures[f"{curve}_{value:g}.recall_1"]) for value in values]
        for curve, (_, values, _) in CURVES.items()
    }
    high = [1.1 * max(value) for value in zip(*(pair for found in points.values() for pair in found), strict=True)]

    low = 0.9 * min(x for found in points.values() for x, _ in found)

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return (
            LEFT + (point[0] - low) / (high[0] - low) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - point[1] / high[1] * (HEIGHT - TOP - BOTTOM),
        )

    sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    draw.line([(LEFT, TOP), (LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM)], "black", 2)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        across = low + (high[0] - low) * share
        x, _ = at((across, 0))
        _, y = at((0, high[1] * share))
        draw.text((x - 14, HEIGHT - BOTTOM + 6), f"{across:.2f}", "black", font)
        draw.text((LEFT - 42, y - 9), f"{high[1] * share:.2f}", "black", font)
        draw.line([(LEFT, y), (WIDTH - RIGHT, y)], "#e0e0e0")
    draw.text((WIDTH // 2 - 150, HEIGHT - 32), "CIDEr against the vague references", "black", font)
    draw.text((6, 2), "R@1", "black", font)
    for number, (curve, (label, values, colour)) in enumerate(CURVES.items()):
        places = [at(point) for point in points[curve]]
        draw.line(places, colour, 3)
        for (x, y), value in zip(places, values, strict=True):
            draw.ellipse([x - 5, y - 5, x + 5, y + 5], fill=colour)
            draw.text((x + 8, y - 18), f"{value:g}", colour, font)
        y = TOP + 8 + 22 * number
        draw.rectangle([LEFT + 20, y + 3, LEFT + 34, y + 15], fill=colour)
        draw.text((LEFT + 42, y), label, "black", font)
    x, y = at(points["cfg"][knee(points["cfg"])])
    draw.ellipse([x - 11, y - 11, x + 11, y + 11], outline="black", width=2)
    return sheet


def examples(count: int = 6, scales: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 4.0)) -> Image.Image:
    """Test images beside their captions at every scale."""
    captioner = load_captioner("bundled:scene-captioner")
    assert isinstance(captioner, CrossAttentionCaptioner)
    train, test = captioned("train", SMALL_SIZES[0], seed=0), captioned("test", count, seed=0)
    tuned, _ = tune_captioner(captioner, encoded(captioner, train.images), train.vague, plan=SMALL_PLAN)
    captions = curve_of(tuned, encoded(tuned, test.images), scales, ClassifierFree, 39)
    side, line = 128, 22
    sheet = Image.new("RGB", (WIDTH, count * (side + 16) + 8), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row in range(count):
        top = 8 + row * (side + 16)
        picture = to_image((test.images[row] * 255).round().to(torch.uint8))
        sheet.paste(picture.resize((side, side), Image.Resampling.NEAREST), (8, top))
        draw.text((side + 24, top), f"a reference: {test.vague[row][0]}", "#6e6e6e", font)
        for number, scale in enumerate(scales, start=1):
            draw.text((side + 24, top + number * line), f"scale {scale:g}: {captions[scale][row]}", "black", font)
    return sheet


def draw_examples(root: Path, target: Path) -> None:
    """Draw the captions of a few images."""
    examples().save(target, quality=90, method=6)


def draw_trade_off(root: Path, target: Path) -> None:
    """Draw the trade-off of the recorded result."""
    result = Result.model_validate_json((root / "results" / "guided_captions.json").read_text(encoding="utf-8"))
    figures = {**baselines(result), **result.controls, **{claim.metric: claim.ours for claim in result.claims}}
    trade_off({name: value for name, value in figures.items() if value is not None}).save(target, quality=92, method=6)


def baselines(result: Result) -> dict[str, float | None]:
    """Figures that claims compare with; a claim that was recorded with another figure compared that same one."""
    known = {claim.id: claim for claim in find_system(result.system).claims}
    found: dict[str, float | None] = {}
    for claim in result.claims:
        now = known[claim.id]
        if claim.baseline is None or now.baseline is None:
            continue
        setting, _, figure = now.baseline.rpartition(".")
        if claim.metric != now.metric:
            figure = claim.metric.rpartition(".")[2]
        found[f"{setting}.{figure}"] = claim.baseline
    return found


PICTURES: Pictures = {
    "guided-captions-examples": draw_examples,
    "guided-captions-trade-off": draw_trade_off,
}
