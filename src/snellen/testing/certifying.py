"""What every certificate promises, as a plain function that raises ``AssertionError``."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.method import Certifier
from snellen.core.outcomes import Certified
from snellen.core.randomness import Randomness
from snellen.testing.conformance import small_problem


def check_certificate(
    certifier: Certifier, *, classifier: Classifier | None = None, images: Tensor | None = None
) -> None:
    """What every certificate promises.

    A class or −1 and a finite radius ≥ 0 for each image, 0 wherever it abstains; votes that are counts; a confidence in
    (0, 1) and the assumptions of the proof; untouched inputs and classifier; the same again, in any batch and beside
    any other image.

    >>> from snellen.methods.smoothing.smoothing import Smoothing
    >>> check_certificate(Smoothing(sigma=0.1, selection=10, samples=100))

    Args:
        certifier: with parameters under which it takes a moment.
        classifier: None takes a small random network, with its own images.
        images: prepared images (n, 3, h, w) of the classifier, at least 3; needed beside a classifier.
    """
    if classifier is None:
        classifier, images, _ = small_problem(count=6)
    assert images is not None, "a classifier comes with prepared images"
    kept, before = images.clone(), classifier.fingerprint()
    rng = Randomness(0).for_examples([f"image-{n}" for n in range(len(images))])
    found = certifier.certify(classifier, images, rng=rng)
    assert torch.equal(images, kept), "the certificate changed its input in place"
    assert classifier.fingerprint() == before, "the certificate changed the classifier"
    _check_ranges(found, len(images), len(classifier.class_names))
    last = len(images) - 1
    for chosen in (list(range(last + 1)), [last], [last, 0]):
        part = certifier.certify(classifier, images[chosen], rng=rng[chosen])
        assert torch.equal(part.prediction, found.prediction[chosen]), "another batch certifies another class"
        assert torch.allclose(part.radius, found.radius[chosen], atol=1e-6), "another batch gives another radius"
        assert torch.equal(part.votes, found.votes[chosen]), "another batch gives other votes"


def _check_ranges(found: Certified, count: int, classes: int) -> None:
    """Shapes, ranges, and nothing certified where it abstains."""
    assert found.prediction.shape == (count,), f"one class for each image, got {tuple(found.prediction.shape)}"
    assert bool(((found.prediction >= -1) & (found.prediction < classes)).all()), "a prediction is a class, or -1"
    assert found.radius.shape == (count,), f"one radius for each image, got {tuple(found.radius.shape)}"
    assert bool((found.radius.isfinite() & (found.radius >= 0)).all()), "a radius is finite and at least 0"
    assert not bool(found.radius[found.prediction == -1].any()), "a radius where the certificate abstains"
    assert found.votes.shape == (count, classes), f"votes are (images, classes), got {tuple(found.votes.shape)}"
    assert bool((found.votes >= 0).all()), "votes are counts"
    assert 0 < found.confidence < 1, "a confidence lies between 0 and 1"
    assert found.assumptions, "the proof names no assumptions"
    assert all(one.strip() for one in found.assumptions), "an assumption is empty"
