"""The conformance suite refuses a shift for each promise that it breaks."""

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.testing import check_shift


class Shifted:
    """A shift made of a function."""

    def __init__(self, change):
        self.change = change

    def shift(self, images, severity, *, rng):
        return self.change(images, severity, rng)


def fade(images, severity):
    return images * (1 - severity / 10)


@pytest.mark.smoke
def test_a_right_shift_passes():
    check_shift(Shifted(lambda images, severity, rng: fade(images, severity)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda images, severity, rng: fade(images, severity + 0.1), "severity 0 must be the identity"),
        (lambda images, severity, rng: images - severity / 10, r"images leave \[0, 1\]"),
        (lambda images, severity, rng: images.mul_(1 - severity / 10), "changed its input in place"),
        (lambda images, severity, rng: fade(images, severity)[:, :, ::2], None),
        (lambda images, severity, rng: fade(images, severity).double() if severity else images, None),
        (lambda images, severity, rng: fade(images, min(severity, 1.0)), "no more than a lower one"),
        (lambda images, severity, rng: fade(images, 5 - severity) if severity else images, "no more than a lower one"),
        (
            lambda images, severity, rng: images * (1 - severity / 10 * torch.rand(images.shape)),
            "the same seed gives other pixels",
        ),
        (
            lambda images, severity, rng: torch.lerp(images, images.mean(0, keepdim=True), severity / 10),
            "another batch gives other pixels",
        ),
        (
            lambda images, severity, rng: (
                images * (1 - severity / 10 * Randomness(0).bind(len(images)).uniform("u", images.shape[1:]))
            ),
            "another batch gives other pixels",
        ),
    ],
)
def test_a_false_shift_is_refused(change, told):
    with pytest.raises(AssertionError, match=told):
        check_shift(Shifted(change))
