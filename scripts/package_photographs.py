"""Photographs inside of scikit-image and scikit-learn, whole and in squares."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

#: Photographs in colour: what detector and editors learn from, and what judges; no photograph is on both sides.
TRAINED_ON = ("astronaut.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "china.jpg", "hubble_deep_field.jpg")
JUDGED_ON = ("chelsea.png", "flower.jpg", "ihc.png", "retina.jpg")

#: Textures of scikit-image that are parts of photographs.
PARTS = ("brick.png", "grass.png", "gravel.png")

#: Side of crops, and pixels between them; crops of a photograph at most.
SIDE, STEP, MOST = 64, 56, 40


def photograph(name: str) -> Image.Image:
    """An image inside of scikit-image or scikit-learn."""
    for package, folder in (("skimage", "data"), ("sklearn", "datasets/images")):
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise SystemExit(f"install {package}")
        path = Path(found.origin).parent / folder / name
        if path.is_file():
            with Image.open(path) as image:
                return image.convert("RGB")
    raise SystemExit(f"no package here has {name}")


def crops(names: Sequence[str], most: int) -> tuple[Tensor, list[str]]:
    """Squares of photographs at their own size that are not nearly of one colour: bytes (n, 3, 64, 64)."""
    found, ids = list[Tensor](), list[str]()
    for name in names:
        pixels = torch.from_numpy(np.array(photograph(name))).permute(2, 0, 1)
        height, width = pixels.shape[1:]
        places = [(y, x) for y in range(0, height - SIDE + 1, STEP) for x in range(0, width - SIDE + 1, STEP)]
        order = np.random.default_rng(0).permutation(len(places))
        own = [
            (pixels[:, y : y + SIDE, x : x + SIDE], f"{name} {y} {x}")
            for y, x in (places[one] for one in order.tolist())
        ]
        own = [one for one in own if float(one[0].float().std()) > 6][:most]
        found += [one for one, _ in own]
        ids += [one for _, one in own]
    return torch.stack(found), ids
