"""Images, where the search looks for pixels, and what it found.

Two scenes with the bundled network for them, two real thumbnails with theirs; seeds are fixed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.references import load_images
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.shared.documents import Pictures
from snellen.systems.feature_guided_search.features import detect
from snellen.systems.feature_guided_search.method import FeatureGuidedSearch
from snellen.systems.feature_guided_search.salience import Salience

#: Side of a picture in the sheet.
SIDE = 128


def right(classifier: Classifier, images: ImageSet, count: int) -> tuple[Tensor, Tensor]:
    """The first images that the classifier gets right, prepared, and their labels."""
    prepared = torch.stack([classifier.prepare(images[row].image) for row in range(20)])
    names = [images.class_names[label] for label in images.labels[:20]] if images.class_names else []
    labels = torch.tensor([classifier.class_names.index(name) for name in names])
    with torch.no_grad():
        kept = (classifier(prepared).argmax(1) == labels).nonzero().flatten()[:count]
    return prepared[kept], labels[kept]


def enlarged(picture: Tensor) -> np.ndarray:
    """(3, h, w) in [0, 1] → bytes (SIDE, SIDE, 3)."""
    pixels = (picture.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST))


def row_of(image: Tensor, adversarial: Tensor) -> np.ndarray:
    """Clean, salience, adversarial, side by side."""
    height, width = image.shape[1:]
    density = torch.from_numpy(Salience(detect(image), height, width).density()).float()
    heat = (density / density.max()).sqrt().expand(3, height, width)
    return np.concatenate([enlarged(image), enlarged(heat), enlarged(adversarial)], 1)


def draw(root: Path, target: Path) -> None:
    """Draw the sheet."""
    shapes = ("square", "triangle", "star", "cross", "ring", "heart")
    scenes = Scenes(count=20, size=32, shapes=shapes, backgrounds=("grey", "sand"), tilts=("upright",), seed=7)
    sources = [
        ("bundled:scene-cnn", scenes.images()),
        ("bundled:fashion-cnn", load_images("bundled:fashion-mnist")),
    ]
    rows = []
    for reference, images in sources:
        classifier = load_classifier(reference)
        clean, labels = right(classifier, images, 2)
        attacked = FeatureGuidedSearch(queries=600).attack(classifier, clean, labels, rng=Randomness(7))
        rows += [row_of(one, other) for one, other in zip(clean, attacked.images, strict=True)]
    left, side = np.concatenate(rows[:2], 0), np.concatenate(rows[2:], 0)
    sheet = np.concatenate([left, np.full((len(left), 8, 3), 255, dtype=np.uint8), side], 1)
    Image.fromarray(sheet).save(target, lossless=True, method=6)


PICTURES: Pictures = {"feature-guided-search": draw}
