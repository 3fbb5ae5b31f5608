"""Small reports, with pictures, to render."""

import hashlib
import io

import numpy as np
from PIL import Image

from snellen.auditing.report import AuditReport, CheckStatus
from snellen.checks.check import CheckFigure
from snellen.checks.eye_chart import Cell, EyeChart, column
from snellen.checks.panels import Line, Panel, Point
from snellen.core.finding import Finding, FindingExample

EVIL = "</title></script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e\udcff"


def picture(seed, side=16):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", lossless=True)
    return hashlib.sha256(stream.getvalue()).hexdigest(), stream.getvalue()


def pictured(harm, *names, kind="corruption", subject="", captions=None):
    captions = captions or [f"cat → {place}" for place, _ in enumerate(names)]
    examples = tuple(
        FindingExample(example_id=f"image {place}", caption=caption, image=name)
        for place, (name, caption) in enumerate(zip(names, captions, strict=True))
    )
    return Finding(kind=kind, subject=subject, harm=harm, title=f"{kind} {subject}", examples=examples)


def share(value):
    return CheckFigure(value=value, low=max(value - 0.1, 0), high=min(value + 0.1, 1), n=100)


def fog(name="fog"):
    cells = [Cell(severity=s, retained=1.1 - 0.2 * s, low=1 - 0.2 * s, high=1.2 - 0.2 * s, n=100) for s in (1, 2, 3)]
    return EyeChart(clean_accuracy=0.9, chance=0.1, columns=(column(name, "corruption", cells),))


def report(**changes):
    given = {
        "model": {"name": "net", "identity": "ab12", "classes": 10, "output": "logits", "notes": ["a model note"]},
        "data": {
            "name": "photos",
            "fingerprint": "cd34",
            "images": 103,
            "used": 100,
            "units": 50,
            "rejected": 3,
            "labelled": True,
        },
        "metrics": {
            "clean.accuracy": share(0.9),
            "corruption.fog.1.accuracy": share(0.8),
            "corruption.fog.3.accuracy": share(0.3),
            "corruption.error": share(0.4),
        },
        "findings": (
            Finding(
                kind="corruption",
                subject="fog",
                harm=0.3,
                p_value=1e-9,
                title="Fog costs 40 points",
                facts={"corruption": "fog", "mean_drop": 0.41234},
                treatments=("snellen treat . --finding corruption:fog --out treated",),
            ),
            Finding(kind="duplicate", subject="exact", harm=0.0, title="2 images are copies"),
        ),
        "tested": {"hypotheses": 7, "findings": 1, "rate": 0.05},
        "eye_chart": fog(),
        "panels": (
            Panel(check="clean", title="A curve", lines=(Line(name="l", points=(Point(x=0, y=0), Point(x=1, y=1))),)),
            Panel(check="clean", title="A table", head=("class", "images"), rows=(("cat", 3), ("dog", 40))),
        ),
        "checks": (
            CheckStatus(name="clean", status="done"),
            CheckStatus(name="group_gap", status="skipped", reason="needs groups"),
        ),
        "notes": ("Intervals are 95 %.",),
    }
    return AuditReport(**{**given, **changes})


REJECTED = [{"id": f"{place}.png", "reason": "not an image"} for place in range(3)]
