"""Scenes whose objects, attributes and sentences are known, and garments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preparation import to_unit
from snellen.data.loading import prepared_batches
from snellen.data.references import load_images
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import Described, described
from snellen.data.worlds.optotypes.parser import parse
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.small_world import SIZE, WORLD, scenes

#: Attributes of the object that sentences are judged by.
ATTRIBUTES = ("shape", "colour", "texture")

#: Reference sentences of each scene.
REFERENCES = 4


@dataclass(frozen=True, eq=False)
class Pictures:
    """n images as a classifier takes them, with what is known of them.

    Attributes:
        images: (n, 3, h, w) in [0, 1].
        targets: int64 (n,), the decisions.
        masks: bool (n, h, w), the object; None where it is not known.
        truths: attributes of the object of each image.
        references: sentences about each image.
    """

    images: Tensor
    targets: Tensor
    masks: Tensor | None = None
    truths: Sequence[dict[str, str]] = ()
    references: Sequence[Sequence[str]] = ()


def drawn_scenes(classifier: Classifier, count: int, seed: int) -> Pictures:
    """Scenes of combinations that no embedded model was fitted to, which the classifier gets right.

    One object each, clear sight; what covers at least half of a pixel is its mask.
    """
    world = WORLD.model_copy(update={"nuisance_share": 0.0, "seed": seed})
    drawn = scenes(world, "test", count=2 * count, seen=False)
    rendered = render(drawn, SIZE)
    images = to_unit(rendered.pixels)
    with torch.no_grad():
        decided = classifier.predict(classifier(images))
    shapes = [scene.objects[0].shape for scene in drawn]
    right = [row for row, shape in enumerate(shapes) if classifier.class_names[int(decided[row])] == shape][:count]
    known = [described(drawn[row]) for row in right]
    return Pictures(
        images=images[right],
        targets=decided[right],
        masks=rendered.coverage[right, 0] > 0.5,
        truths=[stated(one) for one in known],
        references=[[caption(one, seed=seed + number) for number in range(REFERENCES)] for one in known],
    )


def garments(classifier: Classifier, count: int, seed: int) -> Pictures:
    """Thumbnails of Fashion-MNIST that the classifier gets right."""
    few = load_images("bundled:fashion-mnist").limit(2 * count, seed)
    (batch,) = prepared_batches(few, classifier.preparation, len(few))
    images = to_unit(batch.pixels)
    with torch.no_grad():
        decided = classifier.predict(classifier(images))
    right = (decided == torch.from_numpy(few.labels)[batch.indices]).nonzero().flatten()[:count]
    return Pictures(images[right], decided[right])


def stated(said: Described) -> dict[str, str]:
    """What a description says of its first object."""
    known = {name: getattr(said.objects[0], name) for name in ATTRIBUTES} if said.objects else {}
    return {name: value for name, value in known.items() if value is not None}


def read(sentence: str) -> dict[str, str]:
    """What a sentence says of its object; nothing where it cannot be read."""
    try:
        return stated(parse(sentence))
    except InputError:
        return {}


def likeliest(truths: Sequence[dict[str, str]]) -> dict[str, str]:
    """The one sentence for all images: the most frequent value of each attribute."""
    return {name: Counter(one[name] for one in truths).most_common(1)[0][0] for name in ATTRIBUTES}
