"""The conformance suite refuses an edit of objects for each promise that it breaks."""

from dataclasses import replace

import pytest
import torch

from snellen.core.outcomes import Edited
from snellen.core.randomness import Randomness
from snellen.methods.edits.masked_object import pasted_onto
from snellen.testing import check_edit


class Swapping:
    """The object before the given background, and one more change that a promise forbids."""

    def __init__(self, change=lambda edited, images, masks, severity, rng: edited):
        self.change = change

    def edit(self, images, masks, severity, *, rng, backgrounds=None, labels=None):
        found = masks.flatten(1).any(1)
        made = torch.where(found[:, None, None, None], pasted_onto(images, masks, backgrounds), images)
        status = tuple("ok" if one else "its mask is empty" for one in found.tolist())
        edited = Edited(made if severity else images, masks, status)
        return self.change(edited, images, masks, severity, rng)


def with_images(change):
    return lambda edited, images, masks, severity, rng: replace(edited, images=change(edited.images, severity, rng))


def test_a_right_edit_passes():
    check_edit(Swapping())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (with_images(lambda made, severity, rng: made * 0.9), "severity 0 must be the identity"),
        (
            lambda edited, images, masks, severity, rng: replace(edited, masks=~masks),
            "must leave the masks as they are",
        ),
        (with_images(lambda made, severity, rng: made + severity), r"images leave \[0, 1\]"),
        (with_images(lambda made, severity, rng: made[:, :, ::2] if severity else made), None),
        (with_images(lambda made, severity, rng: made.double() if severity else made), None),
        (
            lambda edited, images, masks, severity, rng: (
                replace(edited, images=images.mul_(0.5)) if severity else edited
            ),
            "changed its input in place",
        ),
        (lambda edited, images, masks, severity, rng: replace(edited, status=("no",) * len(images)), "plain object"),
        (lambda edited, images, masks, severity, rng: replace(edited, status=("ok",) * len(images)), "empty mask"),
        (with_images(lambda made, severity, rng: made.flip(3) if severity else made), "must stay as it is"),
        (
            lambda edited, images, masks, severity, rng: (
                replace(edited, masks=torch.zeros_like(masks)) if severity else edited
            ),
            "shows no object",
        ),
        (
            lambda edited, images, masks, severity, rng: (
                replace(edited, images=torch.cat([edited.images[:-1] * torch.rand(1), edited.images[-1:]]))
                if severity
                else edited
            ),
            "the same seed gives other pixels",
        ),
        (
            lambda edited, images, masks, severity, rng: (
                replace(
                    edited,
                    images=torch.cat([edited.images[:3] * Randomness(0).bind(3).uniform("u", (1, 1, 1)), images[3:]])
                    if len(images) == 4
                    else edited.images,
                )
                if severity
                else edited
            ),
            "another batch gives other pixels",
        ),
    ],
)
def test_a_false_edit_is_refused(change, told):
    with pytest.raises(AssertionError, match=told):
        check_edit(Swapping(change))
