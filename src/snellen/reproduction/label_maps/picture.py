"""The label map of two photographs beside each other.

The annotator is ``bundled:efficientnet-lite0`` (extra ``imagenet``), the photographs are ``known:photos``. Beside the
photographs, the picture shows where the map kept the class that is likeliest for the left half, and that of the right
half; brighter is more.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from snellen.data.files.arrays import load_arrays
from snellen.data.references import load_images
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.shared.documents import Pictures
from snellen.systems.label_maps.annotating import annotate
from snellen.systems.label_maps.sparse import crop_targets

SHOWN = ("scikit-image/chelsea.png", "scikit-image/coffee.png")
HEIGHT, WIDTH, SIZE = 220, 220, 448

BOXES = {
    "left half": (0.0, 0.0, 0.5, 1.0),
    "right half": (0.5, 0.0, 1.0, 1.0),
    "whole image": (0.0, 0.0, 1.0, 1.0),
}


def draw(root: Path, target: Path) -> str:
    """Annotate and draw; returns the soft labels of some crops."""
    photos = load_images("known:photos")
    halves = [photos.read(photos.ids.index(name)).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS) for name in SHOWN]
    picture = np.concatenate([np.asarray(half) for half in halves], 1)
    annotator = load_classifier("bundled:efficientnet-lite0")
    with tempfile.TemporaryDirectory() as folder:
        maps = annotate(load_arrays(picture[None]), annotator, Path(folder) / "maps", size=(SIZE, SIZE))
        sparse = maps.read(torch.tensor([0]))
    names, likeliest, lines = annotator.class_names, [], []
    for title, box in BOXES.items():
        best = crop_targets(sparse, torch.tensor([box]), len(names))[0].topk(3)
        shares = (f"{names[label]} {share:.2f}" for label, share in zip(best.indices, best.values, strict=True))
        lines.append(f"{title}: {', '.join(shares)}")
        likeliest.append(int(best.indices[0]))
    dense = sparse.dense(len(names))[0]
    panels = [picture]
    for label in likeliest[:2]:
        grown = torch.nn.functional.interpolate(dense[label][None, None], picture.shape[:2], mode="bilinear")[0, 0]
        share = (grown / dense.max()).clamp(0, 1).numpy()[..., None]
        panels.append((picture * (0.15 + 0.85 * share)).astype(np.uint8))
    gap = np.full((HEIGHT, 8, 3), 255, dtype=np.uint8)
    row = [part for panel in panels for part in (panel, gap)][:-1]
    Image.fromarray(np.concatenate(row, 1)).save(target, quality=80)
    return "\n".join(lines)


PICTURES: Pictures = {"label-maps": draw}
