"""Who judges generated images: a network that guided none of them, and its figures of a set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.methods.generation.made_images import hash_of, weights_of
from snellen.metrics.generated_images import (
    coverage,
    density,
    frechet_distance,
    precision,
    recall,
    within_class_distance,
)
from snellen.models.classifiers.factor_judge import FactorJudge, FactorNetwork, load_judge
from snellen.models.classifiers.references import load_classifier

#: Images that are read together.
_TOGETHER = 256


@dataclass(frozen=True, eq=False)
class Judge:
    """An independent network.

    Args:
        name: its reference.
        weights: hash of its weights, :func:`snellen.methods.generation.made_images.hash_of`.
        class_names: of the classes that it can answer; more than are requested make the task harder, not easier.
        scores: images (n, 3, h, w) in [0, 1] → (n, k).
        features: images → (n, d), the space in which sets of images are compared.
    """

    name: str
    weights: str
    class_names: tuple[str, ...]
    scores: Callable[[Tensor], Tensor]
    features: Callable[[Tensor], Tensor]

    def answers(self, images: Tensor) -> list[str]:
        """Name of the class of each image."""
        return [self.class_names[index] for index in _read(self.scores, images).argmax(1).tolist()]

    def seen(self, images: Tensor) -> Tensor:
        """Features of images, (n, d)."""
        return _read(self.features, images)

    def check_independent(self, guides: Sequence[Classifier]) -> None:
        """Refuse to judge what this network, or one that cannot be distinguished from it, has guided.

        Raises:
            InputError: it has.
        """
        for guide in guides:
            known = weights_of(guide)
            if known is None:
                raise InputError(f"{guide.name} has no identity, so it cannot be told from the judge {self.name}")
            if known == self.weights:
                raise InputError(f"{guide.name} guided these images, so it cannot judge them; take another judge")


def thumbnail_judge() -> Judge:
    """The second network on Fashion-MNIST that comes with the package."""
    classifier = load_classifier("bundled:fashion-judge")
    network = classifier.module
    assert isinstance(network, FactorNetwork)

    def features(images: Tensor) -> Tensor:
        return network.features(classifier.normalise(images))

    return Judge(classifier.name, hash_of(network), classifier.class_names, classifier, features)


def scene_judge() -> Judge:
    """The judge of scenes, of its ten shapes."""
    judge: FactorJudge = load_judge()
    shapes = judge.classifier("shape")
    return Judge(judge.name, hash_of(judge.network), shapes.class_names, shapes, judge.features)


def set_figures(judge: Judge, real: Tensor, images: Tensor, requested: Sequence[str]) -> dict[str, float]:
    """A judge's figures of images.

    Args:
        judge: that guided none of them.
        real: features of real images, (m, d).
        images: float32 (n, 3, h, w) in [0, 1].
        requested: name of the requested class of each image.

    Returns:
        ``accuracy``, the share of images of the requested class; ``frechet``, ``precision``, ``recall``, ``density``
        and ``coverage`` beside the real images; ``diversity``, the mean distance within classes of the images that show
        the requested class (those that do not would count as diverse).
    """
    right = torch.tensor([said == name for said, name in zip(judge.answers(images), requested, strict=True)])
    seen = judge.seen(images)
    names = sorted(set(requested))
    classes = torch.tensor([names.index(name) for name in requested])
    pairs = bool((torch.bincount(classes[right], minlength=1) > 1).any())
    return {
        "accuracy": float(right.double().mean()),
        "frechet": frechet_distance(real, seen),
        "precision": precision(real, seen),
        "recall": recall(real, seen),
        "density": density(real, seen),
        "coverage": coverage(real, seen),
        "diversity": within_class_distance(seen[right], classes[right]) if pairs else 0.0,
    }


def _read(read: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([read(part) for part in images.split(_TOGETHER)])
