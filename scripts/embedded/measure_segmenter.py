"""Measure the embedded segmenter from one point, beside GrabCut, on scenes and on cut-outs of real pictures.

    python scripts/embedded/measure_segmenter.py [--stamps FOLDER] [--isnet FILE.onnx]

The point is a random pixel of the object. IS-Net is not told a point: it cuts out what stands out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from measured import write
from scene_examples import SceneExamples
from scene_world import PAIRS, WORLD, scenes
from torch import Tensor
from train_scene_segmenter import SIZE, first_masks, inside

import snellen
from snellen.core.errors import RejectedImageError
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.data.files.catalogue.cutout_source import Background, Placement, background_images, plain_background
from snellen.data.files.catalogue.stamps import load_stamps
from snellen.metrics.intervals import mean_interval
from snellen.metrics.mask_overlap import intersection_over_union
from snellen.models.references import load_segmenter
from snellen.models.segmenters.protocol import Segmenter

COUNT, CUTOUTS = 400, 40

#: Share of the picture that a cut-out may cover.
LEAST, MOST = 0.03, 0.9


def overlaps(segmenter: Segmenter, images: Tensor, masks: Tensor, points: Tensor) -> list[float]:
    """Intersection over union with the true masks, image by image; an image that it cannot cut out counts 0."""
    asked = {"points": points[:, None]} if "points" in segmenter.prompts else {}
    found = [
        segmenter.segment(images[start : start + 50], **{name: p[start : start + 50] for name, p in asked.items()})
        for start in range(0, len(images), 50)
    ]
    regions = torch.cat([part.regions for part in found])
    return intersection_over_union(regions.numpy(), (masks >= 0.5).numpy()).tolist()


def measured(segmenters: dict[str, Segmenter], images: Tensor, masks: Tensor) -> dict[str, Any]:
    """Mean overlap of each segmenter from the same points."""
    draws = torch.rand(len(masks), generator=torch.Generator().manual_seed(0))
    points = inside(masks, draws)
    figures = {}
    for name, segmenter in segmenters.items():
        values = overlaps(segmenter, images, masks, points)
        low, high = mean_interval(values)
        mean = sum(values) / len(values)
        figures[name] = {"mean": round(mean, 4), "low": round(low, 4), "high": round(high, 4), "n": len(values)}
    return figures


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamps", type=Path, help="the stamps of Tux Paint: cut-outs with exact masks")
    parser.add_argument("--isnet", help="an ONNX file of IS-Net, to compare with")
    given = parser.parse_args()
    torch.set_num_threads(1)
    segmenters = {"scene-sam": load_segmenter("bundled:scene-sam"), "GrabCut": load_segmenter("grabcut")}
    if given.isnet:
        segmenters["IS-Net"] = load_segmenter(f"isnet:{given.isnet}")
    found: dict[str, Any] = {}
    for name, world in (("one object", WORLD), ("two objects", PAIRS)):
        drawn = scenes(world.model_copy(update={"nuisance_share": 0.0}), "test", count=COUNT, seen=False)
        images = to_unit(SceneExamples(drawn, SIZE, None, "test").images())
        scenes_only = {key: one for key, one in segmenters.items() if key != "IS-Net"}
        found[name] = measured(scenes_only, images, first_masks(drawn)[:, 0].float() / 255)
    if given.stamps:
        photographs = background_images(snellen.load_images("known:photos"))
        for name, background in (("white", plain_background()), ("photographs", photographs)):
            found[f"real cut-outs on {name}"] = measured(segmenters, *cutouts(given.stamps, name, background))
    headline = {f"overlap.{name.replace(' ', '_')}": found[name]["scene-sam"]["mean"] for name in found}
    write("segmenter", "scene-sam", found, headline)


def cutouts(folder: Path, name: str, background: Background) -> tuple[Tensor, Tensor]:
    """Cut-outs before a background, at the segmenter's size: float (n, 3, SIZE, SIZE) and masks (n, SIZE, SIZE)."""
    images = load_stamps(folder, placement=Placement(size=2 * SIZE), backgrounds={name: background})
    preparation = Preprocessing(size=(SIZE, SIZE), resize="exact", resize_to=(SIZE, SIZE))
    pictures, masks = [], []
    for position in range(0, len(images), -(-len(images) // CUTOUTS)):
        try:
            mask = torch.as_tensor(np.array(images.read_mask(position))).float()[None, None] / 255
        except RejectedImageError:
            continue
        shrunk = F.avg_pool2d(mask, 2)[0, 0]
        if LEAST < float((shrunk >= 0.5).float().mean()) < MOST:
            pictures.append(preparation(images.read(position)))
            masks.append(shrunk)
    return torch.stack(pictures), torch.stack(masks)


if __name__ == "__main__":
    main()
