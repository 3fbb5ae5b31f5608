"""Measure the embedded segmenter from one point, beside GrabCut, on scenes and on cut-outs of real pictures.

    python scripts/embedded/measure_segmenter.py [--cutouts known:NAME] [--isnet FILE.onnx]

The point is a random pixel of the object. IS-Net is not told a point: it cuts out what stands out.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from measured import write
from scene_examples import SceneExamples
from scene_world import PAIRS, WORLD, scenes
from torch import Tensor
from train_scene_segmenter import SIZE, asked_masks, inside

import snellen
from snellen.metrics.intervals import mean_interval
from snellen.metrics.mask_overlap import intersection_over_union
from snellen.models.segmenters.protocol import Segmenter
from snellen.models.segmenters.references import load_segmenter
from snellen.preparation import Preparation, to_unit

COUNT = 400


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
    parser.add_argument("--cutouts", help="an image set with exact masks, known:fluent-emoji-3d for instance")
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
        found[name] = measured(scenes_only, images, asked_masks(drawn)[:, 0].float() / 255)
    if given.cutouts:
        images, masks = cutouts(given.cutouts)
        found[f"real cut-outs ({given.cutouts})"] = measured(segmenters, images, masks)
    headline = {f"overlap.{name.replace(' ', '_')}": found[name]["scene-sam"]["mean"] for name in found}
    write("segmenter", "scene-sam", found, headline)


def cutouts(reference: str) -> tuple[Tensor, Tensor]:
    """Pictures of a set with masks, at the segmenter's size: float (n, 3, SIZE, SIZE) and (n, SIZE, SIZE)."""
    images = snellen.load_images(reference)
    preparation = Preparation(size=(SIZE, SIZE), resize="exact", resize_to=(SIZE, SIZE))
    pictures, masks = [], []
    for position in range(0, len(images), max(1, len(images) // COUNT)):
        mask = images.read_mask(position)
        if mask is None:
            continue
        shrunk = torch.nn.functional.interpolate(
            torch.as_tensor(mask).float()[None, None] / 255, (SIZE, SIZE), mode="area"
        )[0, 0]
        if 0.03 < float((shrunk >= 0.5).float().mean()) < 0.9:
            pictures.append(preparation(images.read(position)))
            masks.append(shrunk)
    return torch.stack(pictures), torch.stack(masks)


if __name__ == "__main__":
    main()
