"""Photographs that are explained: places against boxes, regions and what they are worth, and answers about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.outcomes import Explained
from snellen.core.preprocessing import to_image
from snellen.core.randomness import Randomness, derive_seed
from snellen.methods.explanations.gradient import Gradient
from snellen.methods.explanations.maps import strongest
from snellen.methods.explanations.partition_shap import PartitionSHAP
from snellen.methods.explanations.pointed_region import pointed_region
from snellen.metrics.mask_overlap import intersection_over_union, pointing_game
from snellen.models.captioners.protocol import QuestionAnswerer
from snellen.models.segmenters.object_masks import fitting_segmenter
from snellen.systems.visual_language.method import VisualLanguage, on_black

#: Questions to the describer: without a class, and with one, the classifier's or a wrong one.
GENERIC = "Describe the object in this image in one sentence."
LABELLED = "A classifier says that this is a {label}. " + GENERIC


@dataclass(frozen=True)
class FullSize:
    """How much is measured.

    Attributes:
        images: photographs, drawn by the seed; those that the classifier gets right are explained.
        budgets: evaluations of Partition SHAP, as published; the largest gives the regions.
        near: pixels beside the object that count as on it in ``hit_near``, as in the published pointing game.
        batch: images at a time.
        max_tokens: of an answer.
    """

    images: int = 200
    budgets: tuple[int, ...] = (100, 200, 300, 500, 1000)
    near: float = 15.0
    batch: int = 8
    max_tokens: int = 64


@dataclass(frozen=True, eq=False)
class Photographs:
    """What is known of the photographs so far: a few are added at a time.

    Attributes:
        classifier: that is explained.
        segmenter: reference of what finds the object at a place.
        answerer: who describes it.
        size: how much is measured.
        seed: of noise and of the wrong classes.
        values: of the images, by figure.
        spoken: answers beside references, by question.
    """

    classifier: Classifier
    segmenter: str
    answerer: QuestionAnswerer
    size: FullSize
    seed: int
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    spoken: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, images: ImageSet, rows: Sequence[int], pixels: Tensor, masks: Tensor) -> None:
        """Explain those of some images that the classifier gets right.

        Args:
            images: the whole set.
            rows: positions of the images.
            pixels: prepared, (n, 3, h, w) in [0, 1].
            masks: of the labelled object, bool (n, h, w).
        """
        with torch.no_grad():
            decided = self.classifier.predict(self.classifier(pixels)).cpu()
        right = decided == torch.from_numpy(np.asarray(images.labels)[list(rows)])
        self.values["right"] += right.double().tolist()
        kept = right.nonzero().flatten()
        if not len(kept):
            return
        ids = [images.ids[rows[at]] for at in kept.tolist()]
        rng = Randomness(self.seed).for_examples(ids)
        shown, truth, targets = pixels[kept.to(pixels.device)], masks[kept], decided[kept].to(pixels.device)
        explained = explain(self.classifier, self.segmenter, shown, targets, max(self.size.budgets), rng)
        self._places(shown, truth, targets, explained, rng)
        self._regions(shown, truth, explained)
        note(self.values, "", explained)
        captions = images.column("caption")
        self._answers(shown, targets, explained, ids, [captions[rows[at]] for at in kept.tolist()])

    def _places(self, images: Tensor, truth: Tensor, targets: Tensor, explained: Explained, rng: Randomness) -> None:
        largest, (height, width) = max(self.size.budgets), images.shape[-2:]
        assert explained.points is not None
        places = {str(largest): explained.points.flip(1).nan_to_num(-1.0).long()}
        places["centre"] = torch.tensor([height // 2, width // 2]).expand(len(images), 2)
        methods = {str(one): PartitionSHAP(fill="telea", budget=one) for one in self.size.budgets if one != largest}
        for name, method in {**methods, "gradient": Gradient()}.items():
            places[name] = strongest(method.attribute(self.classifier, images, targets, rng=rng).pixels).cpu()
        for name, one in places.items():
            for kind, tolerance in (("hit", 0.0), ("hit_near", self.size.near)):
                found = pointing_game(one.numpy(), truth.numpy(), tolerance=tolerance)
                self.values[f"{kind}.{name}"] += np.nan_to_num(found).tolist()

    def _regions(self, images: Tensor, truth: Tensor, explained: Explained) -> None:
        region, rows, (height, width) = explained.regions["region"], torch.arange(len(images)), images.shape[-2:]
        middles = {
            "pointed": strongest(truth.double(), ties="centre"),
            "centre": torch.tensor([height // 2, width // 2]).expand(len(images), 2),
        }
        segmenter = fitting_segmenter(self.segmenter, self.classifier.device)
        regions = {name: pointed_region(segmenter, images, at, rows).region for name, at in middles.items()}
        for name, one in {"region": region, "box": boxes_of(region), **regions}.items():
            self.values[f"iou.{name}"] += intersection_over_union(one.cpu().numpy(), truth.numpy()).tolist()

    def _answers(
        self, images: Tensor, targets: Tensor, explained: Explained, ids: Sequence[str], captions: Sequence[str | None]
    ) -> None:
        names, shown = self.classifier.class_names, on_black(images, explained.regions["region"])
        ready = torch.stack([self.answerer.preparation(to_image(one.cpu())) for one in shown]).to(self.answerer.device)
        true = [_first_name(names[target]) for target in targets.tolist()]
        step = [1 + derive_seed(self.seed, "wrong class", key) % (len(names) - 1) for key in ids]
        wrong = [_first_name(names[(at + by) % len(names)]) for at, by in zip(targets.tolist(), step, strict=True)]
        questions = {
            "generic": [GENERIC] * len(ids),
            "labelled": [LABELLED.format(label=one) for one in true],
            "misled": [LABELLED.format(label=one) for one in wrong],
        }
        answered = {
            name: self.answerer.answer(ready, own, max_tokens=self.size.max_tokens) for name, own in questions.items()
        }
        for name, answers in answered.items():
            self.values[f"named.{name}"] += [_names(one, label) for one, label in zip(answers, true, strict=True)]
        for name, question in (("generic", "generic"), ("labelled", "misled")):
            self.values[f"misled.{name}"] += [
                _names(one, label) for one, label in zip(answered[question], wrong, strict=True)
            ]
        for name in ("generic", "labelled"):
            self.spoken[name] += [
                (one, caption) for one, caption in zip(answered[name], captions, strict=True) if caption
            ]


def explain(
    classifier: Classifier, segmenter: str, images: Tensor, targets: Tensor, budget: int, rng: Randomness
) -> Explained:
    """The place of most evidence, the object that SAM sees there, and what it is worth."""
    method = VisualLanguage(attribution=PartitionSHAP(fill="telea", budget=budget), segmenter=segmenter, captioner=None)
    return method.explain(classifier, images, targets, rng=rng)


def note(values: dict[str, list[float]], before: str, explained: Explained) -> None:
    """Add what regions are worth, of the images that have one: the same images for every figure."""
    if "drop" not in explained.figures:
        return
    parts = {
        f"{before}{name}.{whose}": found[name].double().cpu()
        for name in ("drop", "kept")
        for whose, found in (("region", explained.figures), ("moved", explained.controls))
    }
    known = torch.stack(list(parts.values())).isfinite().all(0)
    for name, found in parts.items():
        values[name] += found[known].tolist()


def boxes_of(regions: Tensor) -> Tensor:
    """The inside of the bounding box of each region: bool (n, h, w) → bool (n, h, w).

    >>> boxes_of(torch.tensor([[[1, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 0]]]).bool()).int().tolist()
    [[[1, 1, 0], [1, 1, 0]], [[0, 0, 0], [0, 0, 0]]]
    """

    def between(some: Tensor) -> Tensor:
        return (some.cumsum(1) > 0) & (some.flip(1).cumsum(1).flip(1) > 0)

    return between(regions.any(2).int())[:, :, None] & between(regions.any(1).int())[:, None, :]


def _first_name(label: str) -> str:
    """A class by the first of its names."""
    return label.partition(",")[0].strip()


def _names(answer: str, label: str) -> float:
    """Whether an answer has the name of a class in it."""
    return float(label.lower() in answer.lower())
