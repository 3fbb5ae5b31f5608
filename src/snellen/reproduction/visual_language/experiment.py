"""System 3: the pointing game by budget, regions against the truth, what they are worth, and what sentences repeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.methods.explanations.attributed import Attributor
from snellen.methods.explanations.gradient import Gradient
from snellen.methods.explanations.maps import moved, strongest
from snellen.methods.explanations.partition_shap import PartitionSHAP
from snellen.methods.explanations.pointed_region import pointed_region
from snellen.metrics.mask_overlap import intersection_over_union, pointing_game
from snellen.models.classifiers.references import load_classifier
from snellen.models.references import load_captioner, load_segmenter
from snellen.reproduction.visual_language.materials import Pictures, drawn_scenes, garments
from snellen.reproduction.visual_language.sentences import sentence_figures
from snellen.systems.visual_language.method import VisualLanguage


@dataclass(frozen=True)
class Sizes:
    """How many images, and evaluations of Partition SHAP for each, least first; ``garment_budget`` on garments."""

    scenes: int = 48
    budgets: tuple[int, ...] = (50, 100, 200, 300, 500, 1000)
    garments: int = 32
    garment_budget: int = 300


SMALL, SMOKE = Sizes(), Sizes(scenes=3, budgets=(8, 16), garments=2, garment_budget=8)

#: Pixels beside the object that count as on it in ``hit_near``: in 32, about as much as 15 in the photographs of the
#: published game.
NEAR = 1.0

#: The segmenter and the captioner of both.
SEGMENTER, CAPTIONER = "bundled:scene-sam", "bundled:scene-captioner"


def visual_language(scale: Scale, seed: int, progress: Progress) -> Mapping[str, float]:
    """Measure the claims of system 3.

    Returns:
        ``hit``: share of scenes whose place lies on the object, by budget, and of the baselines; a scene without a
        place counts as a miss. ``hit_near``: the same within a pixel of the object. ``hit_off_centre``: the same on
        scenes whose centre is not on the object. ``iou``, ``drop`` and ``kept``: of the region at the largest budget,
        and of its controls. Sentences as
        :func:`snellen.reproduction.visual_language.sentences.sentence_figures` tells.

    Raises:
        InputError: the scale is full.
    """
    if scale == "full":
        raise InputError(
            "system 3 has no full experiment yet: it needs boxes of ImageNet, DenseNet121, SAM ViT-H and LLaVA; choose "
            "small"
        )
    sizes, rng = (SMALL, Randomness(seed)) if scale == "small" else (SMOKE, Randomness(seed))
    classifier = load_classifier("bundled:scene-cnn")
    pictures = drawn_scenes(classifier, sizes.scenes, seed)
    progress.begin("scenes", len(sizes.budgets) + 2)
    figures = _pointing(classifier, pictures, sizes, rng, progress)
    figures |= _regions(classifier, pictures, sizes, rng, progress)
    progress.finish("scenes")
    cnn = load_classifier("bundled:fashion-cnn")
    progress.begin("garments", 1)
    figures |= _garments(cnn, garments(cnn, sizes.garments, seed), sizes.garment_budget, rng)
    progress.finish("garments")
    return figures


visual_language.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("three scenes and a budget of a few evaluations",),
    "small": (
        "scenes with one object of six shapes at 32 pixels and bundled:scene-cnn for ImageNet and DenseNet121",
        "bundled:scene-sam for SAM ViT-H",
        "bundled:scene-captioner for TinyLLaVA: it continues a sentence, and is told the class by how that begins",
        "28-pixel product thumbnails for photographs",
    ),
}


def _pointing(
    classifier: Classifier, pictures: Pictures, sizes: Sizes, rng: Randomness, progress: Progress
) -> dict[str, float]:
    """The pointing game by budget, beside the centre, a random place and the largest gradient."""
    assert pictures.masks is not None
    count, (height, width) = len(pictures.targets), pictures.images.shape[-2:]
    centre = torch.tensor([height // 2, width // 2]).expand(count, 2)
    drawn = torch.stack(
        [
            torch.randint(0, side, (count,), generator=rng.generator(name))
            for name, side in (("y", height), ("x", width))
        ],
        1,
    )
    places = {
        "centre": centre,
        "random": drawn,
        "gradient": _places(Gradient(), classifier, pictures, rng),
    }
    for budget in sizes.budgets:
        places[str(budget)] = _places(PartitionSHAP(fill="telea", budget=budget), classifier, pictures, rng)
        progress.advance("scenes", 1, f"{budget} evaluations")
    hits = {name: np.nan_to_num(pointing_game(one.numpy(), pictures.masks.numpy())) for name, one in places.items()}
    off = hits["centre"] == 0
    figures = {f"hit.{name}": float(one.mean()) for name, one in hits.items()}
    for name, one in places.items():
        near = pointing_game(one.numpy(), pictures.masks.numpy(), tolerance=NEAR)
        figures[f"hit_near.{name}"] = float(np.nan_to_num(near).mean())
    # No scene may have an empty centre among very few.
    figures |= {f"hit_off_centre.{name}": float(one[off].mean()) if off.any() else 0.0 for name, one in hits.items()}
    return figures


def _places(method: Attributor, classifier: Classifier, pictures: Pictures, rng: Randomness) -> Tensor:
    return strongest(
        method.attribute(classifier, pictures.images, pictures.targets, rng=rng.bind(len(pictures.targets))).pixels
    ).cpu()


def _regions(
    classifier: Classifier, pictures: Pictures, sizes: Sizes, rng: Randomness, progress: Progress
) -> dict[str, float]:
    """Regions at the largest budget against the truth, what they are worth, and the sentences about them."""
    assert pictures.masks is not None
    method = VisualLanguage(
        attribution=PartitionSHAP(fill="telea", budget=sizes.budgets[-1]), segmenter=SEGMENTER, captioner=None
    )
    count = len(pictures.targets)
    bound = rng.bind(count)
    explained = method.explain(classifier, pictures.images, pictures.targets, rng=bound)
    progress.advance("scenes", 1, "regions")
    region, truth = explained.regions["region"], pictures.masks.numpy()
    size = tuple(pictures.images.shape[-2:])
    anywhere = torch.cat([bound.integers(name, (1,), 0, side) for name, side in zip("yx", size, strict=True)], 1)
    elsewhere = pointed_region(load_segmenter(SEGMENTER), pictures.images, anywhere, torch.arange(count))
    last = list(explained.regions.values())[-1]
    shown = {"region": region, "last": last, "moved": moved(region, bound), "random_point": elsewhere.region}
    figures = {f"iou.{name}": float(intersection_over_union(one.numpy(), truth).mean()) for name, one in shown.items()}
    figures |= _worth(explained.figures, explained.controls)
    figures |= sentence_figures(load_captioner(CAPTIONER), pictures, region, classifier.class_names, rng)
    progress.advance("scenes", 1, "sentences")
    return figures


def _garments(classifier: Classifier, pictures: Pictures, budget: int, rng: Randomness) -> dict[str, float]:
    method = VisualLanguage(attribution=PartitionSHAP(fill="telea", budget=budget), segmenter=SEGMENTER, captioner=None)
    explained = method.explain(classifier, pictures.images, pictures.targets, rng=rng.bind(len(pictures.targets)))
    share = float(np.mean([status == "ok" for status in explained.status]))
    worth = _worth(explained.figures, explained.controls)
    return {"garments.explained": share, **{f"garments.{name}": value for name, value in worth.items()}}


def _worth(figures: Mapping[str, Tensor], controls: Mapping[str, Tensor]) -> dict[str, float]:
    """Means over the images that have a region; of none, nothing is lost and nothing kept."""
    found: dict[str, float] = {}
    for name in ("drop", "kept"):
        for whose, values in (("region", figures), ("moved", controls)):
            known = values[name][values[name].isfinite()] if name in values else torch.zeros(0)
            found[f"{name}.{whose}"] = float(known.mean()) if len(known) else 0.0
    return found
