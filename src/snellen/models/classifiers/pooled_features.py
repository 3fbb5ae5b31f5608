"""Features of images in a classifier's own feature layer, one vector for each image."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.classifier import Classifier

#: Features of more dimensions are projected to so many at random, which keeps distances (Johnson and Lindenstrauss).
LARGEST_WIDTH = 512


def keeps_features(classifier: Classifier) -> bool:
    """Whether the classifier has a layer that is known to hold its features."""
    return classifier.module is not None and classifier.feature_layer is not None


def pooled_features(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Scores (n, k) and features (n, d) of prepared images (n, 3, h, w), in one pass and without gradients.

    Of a feature map, or of tokens, the mean over places is taken. A classifier without a known feature layer has its
    scores as features: where they separate images, they separate them as the model does. One that gives labels alone
    has none.
    """
    with torch.no_grad():
        if not keeps_features(classifier):
            scores = classifier(images)
            return scores, None if classifier.output == "labels" else scores
        scores, features = classifier.scores_and_features(images)
    if features.ndim == 4:
        features = features.mean((2, 3))
    elif features.ndim == 3:
        features = features.mean(1)
    return scores, _projected(features.flatten(1).float())


def _projected(features: Tensor) -> Tensor:
    width = features.shape[1]
    if width <= LARGEST_WIDTH:
        return features
    generator = torch.Generator().manual_seed(width)
    matrix = torch.randn(width, LARGEST_WIDTH, generator=generator) / LARGEST_WIDTH**0.5
    return features @ matrix.to(features)
