"""Scenes of several objects, each with a known mask and known attributes, and garments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.data.loading import prepared_batches
from snellen.data.references import load_images
from snellen.data.worlds.optotypes.described import Described, described
from snellen.data.worlds.optotypes.parser import parse
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.small_world import SIZE, WORLD, scenes

#: Attributes of the object that sentences are judged by.
ATTRIBUTES = ("shape", "colour", "texture")

#: Two or three objects in a scene, of shapes and colours that differ, so that a region is right or wrong.
OBJECTS = (2, 3)

#: Least probability of a decision: below it nobody can say which object it is about.
SURE = 0.5


@dataclass(frozen=True, eq=False)
class Pictures:
    """n images as a classifier takes them, with what is known of them.

    Attributes:
        images: (n, 3, h, w) in [0, 1].
        targets: int64 (n,), the decisions.
        masks: bool (n, h, w), the object that the decision names; None where it is not known.
        any_object: bool (n, h, w), one of the objects, each as likely as the others; None where they are not known.
        absent: int64 (n,), a class that is not in the image; None where it is not known.
        truths: attributes of the object that the decision names.
    """

    images: Tensor
    targets: Tensor
    masks: Tensor | None = None
    any_object: Tensor | None = None
    absent: Tensor | None = None
    truths: Sequence[dict[str, str]] = ()


def drawn_scenes(classifier: Classifier, count: int, seed: int) -> Pictures:
    """Scenes of combinations that no embedded model was fitted to, in which the classifier names one of the objects.

    Two or three small objects whose shapes and colours differ, clear sight; what covers at least half of a pixel is
    the mask of an object. Scenes in which the decision names no object, or is not sure, are left out.
    """
    world = WORLD.model_copy(update={"nuisance_share": 0.0, "seed": seed, "objects": OBJECTS, "sizes": ("small",)})
    drawn = [scene for scene in scenes(world, "test", count=5 * count, seen=False) if _differ(scene)]
    rendered = render(drawn, SIZE)
    images = to_unit(rendered.pixels)
    with torch.no_grad():
        probability, decided = classifier.probabilities(classifier(images)).max(1)
    names = [classifier.class_names[target] for target in decided.tolist()]
    shapes = [[one.shape for one in scene.objects] for scene in drawn]
    named = [row for row, name in enumerate(names) if name in shapes[row] and float(probability[row]) > SURE][:count]
    rng = Randomness(seed).bind(len(named))
    which = (rng.uniform("any object", ()) * torch.tensor([len(shapes[row]) for row in named])).long()
    other = rng.uniform("absent class", ())
    absent = []
    for place, row in enumerate(named):
        left = [name for name in classifier.class_names if name not in shapes[row]]
        absent.append(classifier.class_names.index(left[int(other[place] * len(left))]))
    own = [shapes[row].index(names[row]) for row in named]
    return Pictures(
        images=images[named],
        targets=decided[named],
        masks=rendered.coverage[named, own] > 0.5,
        any_object=rendered.coverage[named, which] > 0.5,
        absent=torch.tensor(absent),
        truths=[stated(described(drawn[row]), place) for row, place in zip(named, own, strict=True)],
    )


def _differ(scene: Scene) -> bool:
    """Whether no two objects share a shape or a colour."""
    every = scene.objects
    return len({one.shape for one in every}) == len({one.colour for one in every}) == len(every)


def garments(classifier: Classifier, count: int, seed: int) -> Pictures:
    """Thumbnails of Fashion-MNIST that the classifier gets right."""
    few = load_images("bundled:fashion-mnist").limit(2 * count, seed)
    (batch,) = prepared_batches(few, classifier.preparation, len(few))
    images = to_unit(batch.pixels)
    with torch.no_grad():
        decided = classifier.predict(classifier(images))
    right = (decided == torch.from_numpy(few.labels)[batch.indices]).nonzero().flatten()[:count]
    return Pictures(images[right], decided[right])


def stated(said: Described, place: int = 0) -> dict[str, str]:
    """The description of one of its objects, by default the first."""
    known = {name: getattr(said.objects[place], name) for name in ATTRIBUTES} if said.objects else {}
    return {name: value for name, value in known.items() if value is not None}


def read(sentence: str) -> dict[str, str]:
    """The description in a sentence of its object; nothing where it cannot be read."""
    try:
        return stated(parse(sentence))
    except InputError:
        return {}


def likeliest(truths: Sequence[dict[str, str]]) -> dict[str, str]:
    """The one sentence for all images: the most frequent value of each attribute."""
    return {name: Counter(one[name] for one in truths).most_common(1)[0][0] for name in ATTRIBUTES}
