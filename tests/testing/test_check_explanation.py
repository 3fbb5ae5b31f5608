"""The conformance suite refuses an explanation for each promise that it breaks."""

from dataclasses import replace

import pytest
import torch

from snellen.core.budget import Spent
from snellen.core.outcomes import Explained
from snellen.testing import check_explanation


def right(images, targets, rng):
    """The image's own brightness is its map; nothing is asked of the classifier."""
    count = len(images)
    bright = images.mean(1)
    return Explained(
        targets=targets,
        status=("ok",) * count,
        maps={"evidence": bright},
        regions={"bright": bright > 0.5},
        points=torch.full((count, 2), 3.0),
        figures={"mean": bright.mean((1, 2))},
        controls={"mean": bright.mean((1, 2)) / 2},
        text=("bright",) * count,
        records=({},) * count,
    )


class Made:
    """An explanation that differs from a right one."""

    def __init__(self, change):
        self.change = change

    def explain(self, classifier, images, targets, *, rng):
        return self.change(classifier, images, targets, right(images, targets, rng))


def test_a_right_explanation_passes():
    check_explanation(Made(lambda classifier, images, targets, found: found))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c, images, t, found: (images.mul_(0.5), found)[1], "changed its input in place"),
        (lambda c, images, t, found: (c(images), found)[1], "query or gradient counts differ"),
        (lambda c, i, t, found: replace(found, spent=Spent(queries=1)), "query or gradient counts differ"),
        (lambda c, i, t, found: replace(found, targets=(t + 1) % 5), "another class was explained"),
        (lambda c, i, t, found: replace(found, status=found.status[1:]), "one status for each image"),
        (lambda c, i, t, found: replace(found, status=("",) * len(i)), "says in words why"),
        (lambda c, i, t, found: replace(found, maps={"evidence": i}), "map 'evidence' is"),
        (lambda c, i, t, found: replace(found, maps={"evidence": i.mean(1) * torch.nan}), "is not finite"),
        (lambda c, i, t, found: replace(found, regions={"bright": i.mean(1)}), "region 'bright' is torch.float32"),
        (lambda c, i, t, found: replace(found, edits={"without": i - 1}), r"edit 'without' leaves \[0, 1\]"),
        (lambda c, i, t, found: replace(found, edits={"without": i[:, :1]}), "edit 'without' is"),
        (
            lambda c, i, t, found: replace(found, controls={"drop": t.float()}),
            "a control of a figure",
        ),
        (lambda c, i, t, found: replace(found, figures={"mean": i.mean()}), "one for each image was expected"),
        (lambda c, i, t, found: replace(found, parts=("ear",)), "parts and their scores go together"),
        (lambda c, i, t, found: replace(found, records=({},)), "one record for each image"),
        (
            lambda c, i, t, found: replace(found, maps={"evidence": i.mean(1) - i.mean()}),
            "another batch gives another explanation",
        ),
        (
            lambda c, i, t, found: replace(found, status=("ok" if len(i) > 2 else "no evidence",) * len(i)),
            "another batch gives another status",
        ),
    ],
)
def test_a_broken_promise_is_reported(change, told):
    with pytest.raises(AssertionError, match=told):
        check_explanation(Made(change))
