"""How well every attribution finds the object of a scene, and how far its maps hold: docs/measured/attributions.json.

Scenes of the small world, whose objects are known to the pixel, under bundled:scene-cnn, which tells shapes; only
images whose shape it tells right. Each map stands beside itself, pushed around the edges by a random step. Afterwards
run python scripts/write_tables.py attributions. About two minutes of one core. Usage:

    python scripts/measure_attributions.py [--images 40] [--costly 4] [--seed 0] [--record]

``--costly`` is the number of images for the figures that take many attributions each: sensitivity and randomisation.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.method import build
from snellen.core.randomness import Randomness
from snellen.core.run import write_atomically
from snellen.data.worlds.optotypes.small_world import WORLD
from snellen.methods.explanations.by_map import MapExplanation
from snellen.methods.explanations.faithfulness.infidelity import infidelity, max_sensitivity, moved_change
from snellen.methods.explanations.faithfulness.randomisation import rank_correlation, scrambled_classifiers
from snellen.methods.explanations.maps import moved, strongest, top_part
from snellen.methods.explanations.pointed_region import pointed_region
from snellen.methods.explanations.score import TargetScore
from snellen.metrics.mask_overlap import intersection_over_union, pointing_game
from snellen.models.classifiers.references import load_classifier
from snellen.models.references import load_segmenter

RECORD = Path(__file__).parents[1] / "docs" / "measured" / "attributions.json"
METHODS = ("gradient", "smooth_grad", "integrated_gradients", "grad_cam", "occlusion", "rise", "partition_shap")

#: Fewer masks than by default: of 32 pixels these are many.
SMALLER: dict[str, dict[str, int]] = {"rise": {"masks": 500}}

#: Pixels around the object that count as hits too, of 32.
TOLERANCE = 2


def main() -> None:
    """Measure, print, and record when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--costly", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    classifier = load_classifier("bundled:scene-cnn")
    images, masks, targets, drawn = scenes(classifier, asked.images)
    rng = Randomness(asked.seed).bind(len(images))
    found: dict[str, Any] = {
        "images": len(images),
        "drawn": drawn,
        "costly_images": asked.costly,
        "seed": asked.seed,
        "tolerance": TOLERANCE,
        "share_of_the_object": float(masks.double().mean()),
        "centre": pointed(torch.full((len(images), 2), (masks.shape[1] - 1) // 2), images, masks),
        "random": pointed(random_points(images, rng), images, masks),
        "methods": {},
    }
    for name in METHODS:
        method = build("explanations", {"method": name, **SMALLER.get(name, {})})
        assert isinstance(method, MapExplanation)
        found["methods"][name] = measured(method, classifier, images, masks, targets, rng, asked.costly)
        print(name, json.dumps(found["methods"][name]), flush=True)
    if asked.record:
        write_atomically(RECORD, (json.dumps(found, indent=1) + "\n").encode())


def scenes(classifier: Classifier, count: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """The first images that are told right, with the masks of their objects: (n, 3, h, w), bool (n, h, w), classes."""
    drawn = WORLD.model_copy(update={"count": count}).images(split="test")
    images = torch.stack([classifier.prepare(drawn.read(row)) for row in range(count)])
    masks = torch.stack([torch.from_numpy(np.array(drawn.read_mask(row))) > 127 for row in range(count)])
    truth = torch.tensor([classifier.class_names.index(drawn.class_names[label]) for label in drawn.column("label")])
    with torch.no_grad():
        right = classifier(images).argmax(1) == truth
    return images[right], masks[right], truth[right], count


def random_points(images: Tensor, rng: Randomness) -> Tensor:
    """One pixel of each image."""
    height, width = images.shape[2:]
    place = rng.integers("point", (), 0, height * width)
    return torch.stack([place // width, place % width], 1)


def pointed(points: Tensor, images: Tensor, masks: Tensor) -> dict[str, float]:
    """Share of hits, and the mean overlap of the object that bundled:scene-sam sees there, as VALE asks it.

    A point that is missing is a miss, overlaps nothing, and is told.
    """
    exact, near = (
        np.nan_to_num(pointing_game(points.numpy(), masks.numpy(), tolerance=reach)) for reach in (0, TOLERANCE)
    )
    there = (points[:, 0] >= 0).nonzero().flatten()
    regions = pointed_region(load_segmenter("bundled:scene-sam"), images, points, there).region
    overlaps = np.nan_to_num(intersection_over_union(regions.numpy(), masks.numpy()))
    return {
        "hits": float(exact.mean()),
        "hits_near": float(near.mean()),
        "missing": len(points) - len(there),
        "region": float(overlaps.mean()),
    }


def overlap(maps: Tensor, masks: Tensor) -> float:
    """Mean overlap of the object with as many of the highest pixels; nothing overlaps where a map says nothing."""
    parts = top_part(maps, masks.sum((1, 2)))
    return float(np.nan_to_num(intersection_over_union(parts.numpy(), masks.numpy())).mean())


def measured(
    method: MapExplanation,
    classifier: Classifier,
    images: Tensor,
    masks: Tensor,
    targets: Tensor,
    rng: Randomness,
    costly: int,
) -> dict[str, float]:
    """All figures of one attribution, and those of its maps moved."""
    told = method.explain(classifier, images, targets, rng=rng)
    maps = told.maps["evidence"].cpu()
    elsewhere = moved(maps, rng.child("elsewhere"))
    score = TargetScore(classifier, targets, "score")
    few, some = range(min(costly, len(images))), rng[range(min(costly, len(images)))]

    def again(model: Classifier, shown: Tensor) -> Tensor:
        return method.attribute(model, shown, targets[: len(shown)], rng=some).pixels

    first = maps[: len(few)]
    scrambled = [model for _, model in scrambled_classifiers(classifier, Randomness(rng.seed))][-1]
    figures = {
        **pointed(strongest(maps, ties="centre"), images, masks),
        "control.hits": pointed(strongest(elsewhere, ties="centre"), images, masks)["hits"],
        "overlap": overlap(maps, masks),
        "control.overlap": overlap(elsewhere, masks),
        **means(told.figures),
        **{f"control.{name}": value for name, value in means(told.controls).items()},
        "infidelity": share_left(infidelity(score, images, maps, rng=rng)),
        "control.infidelity": share_left(infidelity(score, images, elsewhere, rng=rng)),
        "sensitivity": mean(max_sensitivity(lambda shown: again(classifier, shown), images[: len(few)], rng=some)),
        "control.sensitivity": mean(moved_change(first, some)),
        "randomisation": mean(rank_correlation(first, again(scrambled, images[: len(few)]))),
        "control.randomisation": mean(rank_correlation(first, moved(first, some))),
        "queries": told.spent.queries / len(images),
        "gradients": told.spent.gradients / len(images),
    }
    return {name: round(float(value), 6) for name, value in figures.items()}


def share_left(found: Any) -> float:  # noqa: ANN401
    """Infidelity of the best multiple of each map over that of no map."""
    return mean(found.scaled / found.nothing)


def means(figures: Mapping[str, Tensor]) -> dict[str, float]:
    """Means over the images that have a figure."""
    return {name: mean(values) for name, values in figures.items()}


def mean(values: Tensor) -> float:
    """Mean over what is known."""
    return float(values.double().nanmean())


if __name__ == "__main__":
    main()
