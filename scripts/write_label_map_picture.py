"""Draw the label map of two photographs beside each other into docs/pictures/label-maps.webp.

    python scripts/write_label_map_picture.py

The annotator is ``bundled:efficientnet-lite0`` (extra ``imagenet``), the photographs are ``known:photos``. Beside the
photograph: where the map kept the two classes that are likeliest for its left and its right half, brighter is more.
Printed: the soft labels of some crops.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import snellen
from snellen.data.files.arrays import load_arrays
from snellen.systems.label_maps.annotating import annotate
from snellen.systems.label_maps.pooling import crop_targets

TARGET = Path(__file__).parents[1] / "docs" / "pictures" / "label-maps.webp"
SHOWN = ("scikit-image/chelsea.png", "scikit-image/coffee.png")
HEIGHT, WIDTH, SIZE = 220, 220, 448

BOXES = {
    "left half": (0.0, 0.0, 0.5, 1.0),
    "right half": (0.5, 0.0, 1.0, 1.0),
    "whole image": (0.0, 0.0, 1.0, 1.0),
}


def main() -> None:
    """Annotate, print the soft labels, draw."""
    photos = snellen.load_images("known:photos")
    halves = [photos.read(photos.ids.index(name)).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS) for name in SHOWN]
    picture = np.concatenate([np.asarray(half) for half in halves], 1)
    annotator = snellen.load_classifier("bundled:efficientnet-lite0")
    with tempfile.TemporaryDirectory() as folder:
        maps = annotate(load_arrays(picture[None]), annotator, Path(folder) / "maps", size=(SIZE, SIZE))
        sparse = maps.read(torch.tensor([0]))
    names, likeliest = annotator.class_names, []
    for title, box in BOXES.items():
        target = crop_targets(sparse, torch.tensor([box]), len(names))[0]
        best = target.topk(3)
        told = (f"{names[label]} {share:.2f}" for label, share in zip(best.indices, best.values, strict=True))
        print(f"{title}: {', '.join(told)}")
        likeliest.append(int(best.indices[0]))
    dense = sparse.dense(len(names))[0]
    panels = [picture]
    for label in likeliest[:2]:
        grown = torch.nn.functional.interpolate(dense[label][None, None], picture.shape[:2], mode="bilinear")[0, 0]
        share = (grown / dense.max()).clamp(0, 1).numpy()[..., None]
        panels.append((picture * (0.15 + 0.85 * share)).astype(np.uint8))
    gap = np.full((HEIGHT, 8, 3), 255, dtype=np.uint8)
    row = [part for panel in panels for part in (panel, gap)][:-1]
    TARGET.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(row, 1)).save(TARGET, quality=80)


if __name__ == "__main__":
    main()
