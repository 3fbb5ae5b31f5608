"""Loss against the number of images, both on logarithmic scales: points of students, and the laws through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from snellen.runs.thumbnails import BACKGROUND, FAINT, INK
from snellen.systems.scaling_laws.power_law import PowerLaw
from snellen.systems.scaling_laws.scaling_run import IN_DISTRIBUTION, ScalingRun

WIDTH, HEIGHT, MARGIN = 720, 460, 60

#: Distinguishable with most kinds of colour blindness (Okabe and Ito 2008).
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def curve_picture(runs: Sequence[ScalingRun], laws: Mapping[str, PowerLaw], test: str = IN_DISTRIBUTION) -> Image.Image:
    """Draw every curve of one test set: a dot for each student, a line over the sizes that its law was fitted to."""
    shown = [run for run in runs if run.test == test]
    x = np.log([run.size for run in shown])
    y = np.log([max(run.loss, 1e-12) for run in shown])
    left, right = float(x.min()), float(x.max()) or 1.0
    low, high = float(y.min()), float(y.max())
    picture = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)

    def place(size: float, loss: float) -> tuple[float, float]:
        across = (np.log(size) - left) / max(right - left, 1e-9)
        up = (np.log(loss) - low) / max(high - low, 1e-9)
        return MARGIN + across * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - up * (HEIGHT - 2 * MARGIN)

    draw.rectangle((MARGIN - 8, MARGIN - 8, WIDTH - MARGIN + 8, HEIGHT - MARGIN + 8), outline=FAINT)
    for size in sorted({run.size for run in shown}):
        across, _ = place(size, np.exp(low))
        draw.text((across, HEIGHT - MARGIN + 12), str(size), INK, font, anchor="ma")
    for loss in np.exp(np.linspace(low, high, 5)):
        _, up = place(np.exp(left), loss)
        draw.text((MARGIN - 14, up), f"{loss:.2g}", INK, font, anchor="rm")
    draw.text((WIDTH / 2, HEIGHT - 18), "images", INK, font, anchor="mm")
    draw.text((10, 8), f"loss, nats ({test})", INK, font)
    for number, config in enumerate(dict.fromkeys(run.config for run in shown)):
        colour = COLOURS[number % len(COLOURS)]
        for run in (one for one in shown if one.config == config):
            across, up = place(run.size, max(run.loss, 1e-12))
            draw.ellipse((across - 3, up - 3, across + 3, up + 3), outline=colour)
        if config in laws:
            law = laws[config]
            draw.line([place(size, law.loss(size)) for size in law.range], fill=colour, width=2)
        draw.text((WIDTH - MARGIN, 8 + 15 * number), config, colour, font, anchor="ra")
    return picture
