"""What the metric does to a texture made with it, beside the ratio of jumps (21.e): docs/measured/made-textures.

    python scripts/measure.py tileability --set seed=3000

The picture of the page shows noise in what was made from noise with the metric. Noise raises the jumps inside, and with
them the divisor of the ratio, so the ratio could fall without a better seam. Here seam and inside are measured apart.
Expected, before any seed: from noise with the metric, the jump inside is at least 1.5 times that without, and the jump
at the seams itself is no lower. Begun at what was made without the metric, the jump at the seams falls by a quarter or
more on each seed. A seed is a file and takes four minutes of a core; one that is there is left alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.data.worlds.textures.textures import Textures
from snellen.reproduction.shared.documents import Measurements, is_measured, measured_path, write_measured
from snellen.reproduction.tileability.experiment import HELD_OUT, SMALL_SIZE
from snellen.systems.tileability.synthesis import (
    TextureSynthesis,
    patches_of,
    sliced_wasserstein,
    synthesize_texture,
)
from snellen.systems.tileability.tileability import Tileability, load_tileability

#: Directions along which patches are compared in the end, as in the record.
DIRECTIONS = 256


def measure_made(root: Path, progress: Progress, *, seed: int = 3000, examples: int = 8) -> None:
    """Jumps of textures made without the metric, and with it from three beginnings."""
    path = measured_path(root, f"made-textures/{seed}")
    if is_measured(path):
        return
    crops = Textures(
        count=2 * examples,
        size=SMALL_SIZE.side,
        generators=HELD_OUT,
        failures=("crop",),
        seed=derive_seed(seed, "textures"),
    ).images(split="test")
    preparation = Preprocessing(size=(SMALL_SIZE.side, SMALL_SIZE.side))
    broken = np.flatnonzero(crops.labels == list(crops.class_names or ()).index("not tileable"))
    metric, synthesis = load_tileability("bundled:tileability"), SMALL_SIZE.synthesis
    ways: dict[str, list[dict[str, float]]] = {}
    for place, row in enumerate(broken.tolist()):
        example = to_unit(preparation.pixels(crops.read(row)))
        made = made_textures(example, metric, synthesis, derive_seed(seed, "made", place) % 2**31, progress)
        for way, image in {"example": example, **made}.items():
            ways.setdefault(way, []).append(judged(image, example, metric, synthesis))
    write_measured(path, {"seed": seed, "examples": len(broken), "ways": ways})


def made_textures(
    example: Tensor, metric: Tileability, synthesis: TextureSynthesis, seed: int, progress: Progress
) -> dict[str, Tensor]:
    """A texture made from noise without the metric, and with it: from the noise, after that one, from the example."""
    noise = torch.rand(example.shape, generator=torch.Generator().manual_seed(seed))

    def made(guide: Tileability | None, start: Tensor) -> Tensor:
        return synthesize_texture(example, guide, start=start, synthesis=synthesis, seed=seed, progress=progress).image

    without = made(None, noise)
    return {
        "without": without,
        "from noise": made(metric, noise),
        "after": made(metric, without),
        "from the example": made(metric, example),
    }


def judged(image: Tensor, example: Tensor, metric: Tileability, synthesis: TextureSynthesis) -> dict[str, float]:
    """Jump at the seams and inside, grey levels of 255; distance of patches to the example's; logit of the metric."""
    levels = 255 * image
    seam = sum(float((levels.select(axis, 0) - levels.select(axis, -1)).abs().mean()) for axis in (1, 2)) / 2
    inside = sum(float(levels.diff(dim=axis).abs().mean()) for axis in (1, 2)) / 2
    wanted = patches_of(example, synthesis.patch)
    directions = torch.randn(DIRECTIONS, wanted.shape[1], generator=torch.Generator().manual_seed(0))
    away = sliced_wasserstein(patches_of(image, synthesis.patch), wanted, directions)
    with torch.no_grad():
        logit = float(metric.logits(image[None])[0])
    return {"seam": seam, "inside": inside, "away": float(away), "logit": logit}


MEASUREMENTS: Measurements = {"made": measure_made}
