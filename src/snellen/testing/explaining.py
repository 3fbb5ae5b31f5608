"""What every explanation promises, of images or of a model, as functions that raise ``AssertionError``."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.method import Describer, Explainer
from snellen.core.outcomes import Described, Explained
from snellen.core.randomness import Randomness
from snellen.testing.conformance import small_problem


def check_explanation(
    explainer: Explainer, *, classifier: Classifier | None = None, images: Tensor | None = None
) -> None:
    """What every explanation of images promises.

    One status, target, record and sentence for each image; maps, regions and edits of the images' size; figures that
    are finite wherever an image is explained, and controls that are controls of figures; counts that agree with the
    classifier's; untouched inputs; the same again, in any batch and beside any other image.

    >>> from snellen.methods.explanations.gradient import Gradient
    >>> check_explanation(Gradient())

    Args:
        explainer: with parameters under which it takes a moment.
        classifier: None takes a small random network, with its own images.
        images: prepared images (6, 3, h, w) of the classifier; needed beside a classifier.
    """
    if classifier is None:
        classifier, images, _ = small_problem(count=6)
    assert images is not None, "a classifier comes with prepared images"
    with torch.no_grad():
        targets = classifier(images).argmax(1)
    kept, rng = images.clone(), Randomness(0).for_examples([f"image-{n}" for n in range(len(images))])
    with classifier.counting() as spent:
        found = explainer.explain(classifier, images, targets, rng=rng)
    assert torch.equal(images, kept), "the explanation changed its input in place"
    assert found.spent.counts() == spent().counts(), "query or gradient counts differ from the classifier's"
    assert torch.equal(found.targets.cpu(), targets), "another class was explained than was requested"
    _check_shapes(found, len(images), tuple(images.shape[2:]))
    for chosen in ([4], [5, 1]):
        part = explainer.explain(classifier, images[chosen], targets[chosen], rng=rng[chosen])
        assert part.status == tuple(found.status[row] for row in chosen), "another batch gives another status"
        assert (part.text is None) == (found.text is None)
        for one, other in _arrays(part, found):
            same = torch.allclose(one.double(), other.double()[chosen], rtol=1e-3, atol=1e-4, equal_nan=True)
            assert same, "another batch gives another explanation"


def _check_shapes(found: Explained, count: int, size: tuple[int, ...]) -> None:
    """Lengths and sizes; NaN only where there is no explanation."""
    assert len(found.status) == count, "one status for each image"
    assert all(found.status), "a status is 'ok', or says in words why there is no explanation"
    explained = torch.tensor([status == "ok" for status in found.status])
    for name, one in found.maps.items():
        assert one.shape == (count, *size), f"map {name!r} is {tuple(one.shape)}, the images {size}"
        assert bool(one[explained].isfinite().all()), f"map {name!r} of an explained image is not finite"
    for name, one in found.regions.items():
        assert one.shape == (count, *size), f"region {name!r} is {tuple(one.shape)}, the images {size}"
        assert one.dtype == torch.bool, f"region {name!r} is {one.dtype}"
    for name, one in found.edits.items():
        assert one.shape == (count, 3, *size), f"edit {name!r} is {tuple(one.shape)}"
        assert float(one.min()) >= 0, f"edit {name!r} leaves [0, 1]"
        assert float(one.max()) <= 1, f"edit {name!r} leaves [0, 1]"
    assert set(found.controls) <= set(found.figures), "a control of a figure that is not there"
    for name, one in (*found.figures.items(), *found.controls.items()):
        assert one.shape == (count,), f"figure {name!r} is {tuple(one.shape)}, one for each image was expected"
    assert (found.scores is None) == (not found.parts), "parts and their scores go together"
    assert found.scores is None or found.scores.shape == (count, len(found.parts))
    assert found.points is None or found.points.shape == (count, 2)
    assert found.text is None or len(found.text) == count
    assert len(found.records) in (0, count), "one record for each image, or none"


def _arrays(part: Explained, whole: Explained) -> list[tuple[Tensor, Tensor]]:
    """What is the same in both, pair by pair."""
    pairs = [(part.targets, whole.targets)]
    for own, other in ((part.maps, whole.maps), (part.figures, whole.figures), (part.controls, whole.controls)):
        assert set(own) == set(other), "another batch gives other names"
        pairs += [(own[name], other[name]) for name in own]
    pairs += [(part.regions[name], whole.regions[name]) for name in part.regions]
    if part.points is not None and whole.points is not None:
        pairs.append((part.points, whole.points))
    if part.scores is not None and whole.scores is not None:
        pairs.append((part.scores, whole.scores))
    return pairs


def check_description(describer: Describer, classifier: Classifier, images: ImageSet) -> None:
    """What every description of a model promises.

    Parts that are named once, each with a status and a sentence; pictures in bytes beside the ids that they come from;
    a figure for each part, and controls that are controls of figures; images that could not be used with their reason;
    classifier and images stay as they are; the same again.

    Args:
        describer: with parameters under which it takes a moment.
        classifier: what is described.
        images: it is described over these.
    """
    before = images.fingerprint(), classifier.fingerprint()
    found = describer.describe(classifier, images, rng=Randomness(0))
    assert (images.fingerprint(), classifier.fingerprint()) == before, "images or classifier were changed"
    _check_parts(found, set(images.ids))
    again = describer.describe(classifier, images, rng=Randomness(0))
    assert (again.parts, again.status, again.text) == (found.parts, found.status, found.text), "another description"
    assert again.sources == found.sources, "the same seed shows other images"
    for name, figure in found.figures.items():
        assert torch.allclose(again.figures[name], figure, equal_nan=True), f"the same seed gives another {name!r}"


def _check_parts(found: Described, ids: set[str]) -> None:
    """One of everything for each part."""
    count = len(found.parts)
    assert count, "nothing was described"
    assert len(set(found.parts)) == count, "a part has two descriptions"
    assert len(found.status) == len(found.text) == count, "one status and one sentence for each part"
    assert all(found.status), "a status is 'ok', or says in words why there is no description"
    for status, text in zip(found.status, found.text, strict=True):
        assert status == "ok" or not text, "a sentence about a part that has no description"
    assert len(found.pictures) in (0, count), "pictures of each part, or none"
    assert len(found.sources) == len(found.pictures), "pictures and their ids go together"
    for pictures, sources in zip(found.pictures, found.sources, strict=True):
        assert pictures.dtype == torch.uint8, "pictures are bytes"
        assert pictures.shape[:2] == (len(sources), 3), "pictures are (k, 3, h, w), one for each id"
        assert set(sources) <= ids, "a picture of an image that was not given"
    assert set(found.controls) <= set(found.figures), "a control of a figure that is not there"
    for name, one in (*found.figures.items(), *found.controls.items()):
        assert one.shape == (count,), f"figure {name!r} is {tuple(one.shape)}, one for each part was expected"
    assert len(found.records) in (0, count), "one record for each part, or none"
    assert all(reason.strip() for _, reason in found.rejected), "an image was rejected without a reason"
