"""Images of noise, with labels or without, and a small recipe that tunes random models on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snellen.core.images import ImageSet
from snellen.data.files.arrays import load_arrays
from snellen.systems.label_free_tuning.method import LabelFreePromptTuning

NAMES = ("cat", "dog")


def images(labels: np.ndarray | None, count: int = 40) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    if labels is None:
        return load_arrays(pixels, name="pets")
    return load_arrays(pixels, labels, class_names=list(NAMES), name="pets")


def recipe(clip: Path, other: Path, **changes: object) -> LabelFreePromptTuning:
    options: dict[str, object] = {
        "tower": f"hf:{clip}",
        "features": f"hf:{other}",
        "classes": NAMES,
        "prompts": 3,
        "hidden": 8,
        "head": {"epochs": 2},
        "plan": {"epochs": 1, "batch_size": 20},
        "fallback_depth": 2,
    }
    return LabelFreePromptTuning(**{**options, **changes})
