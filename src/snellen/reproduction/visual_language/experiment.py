"""System 3: the pointing game by budget, regions against the truth, what they are worth, and what sentences state.

Each scene has two or three objects, and the decision names one of them. The rival is any of the objects: pointing at
one of them at random, without the classifier, is right once in two or three times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.outcomes import Explained
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.methods.explanations.attributed import Attributor
from snellen.methods.explanations.faithfulness.removal import region_effect
from snellen.methods.explanations.filling import filling
from snellen.methods.explanations.gradient import Gradient
from snellen.methods.explanations.maps import moved, strongest
from snellen.methods.explanations.partition_shap import PartitionSHAP
from snellen.methods.explanations.pointed_region import pointed_region
from snellen.methods.explanations.score import TargetScore
from snellen.metrics.mask_overlap import intersection_over_union, pointing_game
from snellen.models.classifiers.references import load_classifier
from snellen.models.references import load_captioner, load_segmenter
from snellen.reproduction.sample import Figure, Sample
from snellen.reproduction.visual_language.full import full
from snellen.reproduction.visual_language.materials import Pictures, drawn_scenes, garments
from snellen.reproduction.visual_language.sentences import sentence_figures
from snellen.systems.visual_language.method import VisualLanguage


@dataclass(frozen=True)
class Sizes:
    """How many images, and evaluations of Partition SHAP for each: few, and as many as the paper requires."""

    scenes: int = 48
    few: int = 50
    many: int = 300
    garments: int = 24


SMALL, SMOKE = Sizes(), Sizes(scenes=3, few=8, many=16, garments=2)

#: Pixels beside the object that count as on it in ``hit_near``: in 32, about as much as 15 in the photographs of the
#: published game.
NEAR = 1.0

#: The segmenter of scenes takes the object at a point; the embedded one takes what stands out, whichever point it gets,
#: which does for garments, that stand alone. Who describes them.
SEGMENTER, SEGMENTER_OF_ONE, CAPTIONER = "grabcut", "bundled:scene-sam", "bundled:scene-captioner"


def visual_language(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 3.

    Returns:
        ``hit``: whether the place lies on the object that the decision names, with ``few`` and ``many`` evaluations,
        and of the baselines; a scene without a place counts as a miss; ``hit.absent`` where a class that is not in the
        scene is explained. ``hit_near``: the same within a pixel of the object. ``iou``, ``drop`` and ``kept``: of the
        region at the place of many, and of its controls; ``iou.pointed`` of the region at a place on the named object.
        Sentences as in :func:`snellen.reproduction.visual_language.sentences.sentence_figures`. All have a value for
        each image. At full scale: :func:`snellen.reproduction.visual_language.full.full`.
    """
    if scale == "full":
        return full(seed, progress)
    sizes, rng = (SMALL, Randomness(seed)) if scale == "small" else (SMOKE, Randomness(seed))
    classifier = load_classifier("bundled:scene-cnn")
    pictures = drawn_scenes(classifier, sizes.scenes, seed)
    progress.begin("scenes", 4)
    figures = _regions(classifier, pictures, sizes, rng, progress)
    progress.finish("scenes")
    cnn = load_classifier("bundled:fashion-cnn")
    progress.begin("garments", 1)
    figures |= _garments(cnn, garments(cnn, sizes.garments, seed), sizes.many, rng)
    progress.finish("garments")
    return figures


visual_language.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("three scenes and a budget of a few evaluations",),
    "small": (
        "scenes with two or three objects of six shapes at 32 pixels and bundled:scene-cnn, which was fitted to scenes "
        "of one, for ImageNet and DenseNet121",
        "GrabCut for SAM ViT-H on scenes, bundled:scene-sam on thumbnails",
        "bundled:scene-captioner for TinyLLaVA: it continues a sentence",
        "28-pixel product thumbnails for photographs",
    ),
    "full": ("see full.py",),
}


def _pointing(
    classifier: Classifier, pictures: Pictures, many: Tensor, sizes: Sizes, rng: Randomness, progress: Progress
) -> dict[str, Figure]:
    """The pointing game with many evaluations, beside few, any object, the centre and the largest gradient."""
    assert pictures.masks is not None
    assert pictures.any_object is not None
    assert pictures.absent is not None
    count, (height, width) = len(pictures.targets), pictures.images.shape[-2:]
    places = {
        "many": many,
        "centre": torch.tensor([height // 2, width // 2]).expand(count, 2),
        "any_object": _inside(pictures.any_object),
        "gradient": _places(Gradient(), classifier, pictures.images, pictures.targets, rng),
    }
    for name, budget, targets in (("few", sizes.few, pictures.targets), ("absent", sizes.many, pictures.absent)):
        method = PartitionSHAP(fill="telea", budget=budget)
        places[name] = _places(method, classifier, pictures.images, targets, rng)
        progress.advance("scenes", 1, name)
    figures: dict[str, Figure] = {}
    for name, one in places.items():
        for kind, tolerance in (("hit", 0.0), ("hit_near", NEAR)):
            found = pointing_game(one.numpy(), pictures.masks.numpy(), tolerance=tolerance)
            figures[f"{kind}.{name}"] = Sample.of(np.nan_to_num(found))
    return figures


def _inside(masks: Tensor) -> Tensor:
    """The pixel of each mask, bool (n, h, w), that is nearest to its middle: int64 (n, 2), row and column."""
    return strongest(masks.double(), ties="centre")


def _places(method: Attributor, classifier: Classifier, images: Tensor, targets: Tensor, rng: Randomness) -> Tensor:
    return strongest(method.attribute(classifier, images, targets, rng=rng.bind(len(targets))).pixels).cpu()


def _regions(
    classifier: Classifier, pictures: Pictures, sizes: Sizes, rng: Randomness, progress: Progress
) -> dict[str, Figure]:
    """Places and regions with many evaluations against the truth, what they are worth, and sentences about them."""
    assert pictures.masks is not None
    assert pictures.any_object is not None
    method = VisualLanguage(
        attribution=PartitionSHAP(fill="telea", budget=sizes.many), segmenter=SEGMENTER, captioner=None
    )
    count, images = len(pictures.targets), pictures.images
    bound = rng.bind(count)
    explained = method.explain(classifier, images, pictures.targets, rng=bound)
    progress.advance("scenes", 1, "regions")
    region, truth = explained.regions["region"], pictures.masks.numpy()
    rows, segmenter = torch.arange(count), load_segmenter(SEGMENTER)
    rival, pointed = (
        pointed_region(segmenter, images, _inside(masks), rows).region
        for masks in (pictures.any_object, pictures.masks)
    )
    shown = {"region": region, "pointed": pointed, "moved": moved(region, bound), "any_object": rival}
    assert explained.points is not None
    many = explained.points.flip(1).nan_to_num(-1.0).long()
    figures = _pointing(classifier, pictures, many, sizes, rng, progress)
    figures |= {f"iou.{name}": Sample.of(intersection_over_union(one.numpy(), truth)) for name, one in shown.items()}
    score = TargetScore(classifier, pictures.targets)
    without = region_effect(score, images, filling("telea", images), rival, bound)
    alone = region_effect(score, images, filling("black", images), rival, bound)
    figures |= _worth(explained, {"drop": without.drop, "kept": alone.kept})
    spoken = {"region": region, "any_object": rival, "pointed": pointed}
    figures |= sentence_figures(load_captioner(CAPTIONER), pictures, spoken)
    progress.advance("scenes", 1, "sentences")
    return figures


def _garments(classifier: Classifier, pictures: Pictures, budget: int, rng: Randomness) -> dict[str, Figure]:
    method = VisualLanguage(
        attribution=PartitionSHAP(fill="telea", budget=budget), segmenter=SEGMENTER_OF_ONE, captioner=None
    )
    explained = method.explain(classifier, pictures.images, pictures.targets, rng=rng.bind(len(pictures.targets)))
    share = float(np.mean([status == "ok" for status in explained.status]))
    return {"garments.explained": share, **{f"garments.{name}": value for name, value in _worth(explained).items()}}


def _worth(explained: Explained, rival: Mapping[str, Tensor] | None = None) -> dict[str, Figure]:
    """What regions are worth, over the images that have one: the same images for every figure; None without any."""
    parts = {
        f"{name}.{whose}": values[name]
        for name in ("drop", "kept")
        for whose, values in (("region", explained.figures), ("moved", explained.controls), ("any_object", rival or {}))
        if name in values
    }
    if not parts:
        return {f"{name}.{whose}": None for name in ("drop", "kept") for whose in ("region", "moved")}
    known = torch.stack([values.double().cpu() for values in parts.values()]).isfinite().all(0)
    if not bool(known.any()):
        return dict.fromkeys(parts)
    return {name: Sample.of(values.double().cpu()[known].numpy()) for name, values in parts.items()}
