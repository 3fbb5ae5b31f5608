"""What every attack on the camera promises, as a plain function that raises ``AssertionError``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.method import ViewAttack
from snellen.core.outcomes import AttackedViews
from snellen.core.randomness import Randomness
from snellen.core.view_renderer import ViewRenderer

#: Statuses of an object.
_STATUSES = ("found", "not found", "blank", "not finite")


def check_view_attack(
    attack: ViewAttack, classifier: Classifier, renderer: ViewRenderer, objects: Sequence[str], labels: Tensor
) -> None:
    """What every attack on the camera promises.

    A mixture and fresh views for each object, in the order of the objects; weights that sum to one; success only where
    the object is seen, and rates in [0, 1]; counts that agree with the classifier's; labels and classifier stay as they
    are; the same result again, and for an object alone.

    Args:
        attack: with parameters under which it takes a moment.
        classifier: of the views.
        renderer: of the objects.
        objects: at least two of the renderer's.
        labels: int64 (n,), their classes.
    """
    assert len(objects) > 1, "at least two objects are needed to compare batches"
    kept, before, rng = labels.clone(), classifier.fingerprint(), Randomness(0)
    with classifier.counting() as spent:
        found = attack.attack_views(classifier, renderer, objects, labels, criterion=Misclassified(), rng=rng)
    assert torch.equal(labels, kept), "the attack changed the labels in place"
    assert classifier.fingerprint() == before, "the attack changed the classifier"
    assert found.spent.counts() == spent().counts(), "query or gradient counts differ from the classifier's"
    _check_ranges(found, objects)
    again = attack.attack_views(classifier, renderer, objects, labels, criterion=Misclassified(), rng=rng)
    _check_same(found, again, list(range(len(objects))), "the same seed gives another result")
    last = len(objects) - 1
    alone = attack.attack_views(
        classifier, renderer, [objects[last]], labels[last:], criterion=Misclassified(), rng=rng
    )
    _check_same(found, alone, [last], "an object alone gives another result")


def _check_ranges(found: AttackedViews, objects: Sequence[str]) -> None:
    """Shapes and ranges."""
    assert found.objects == tuple(objects), "objects are not those that were given, in their order"
    count, views = len(objects), found.viewpoints.shape[1]
    assert found.viewpoints.shape == (count, views, 6), "a viewpoint is six numbers"
    assert found.success.shape == found.blank.shape == (count, views), "one success and one blank for each view"
    assert not bool((found.success & found.blank).any()), "a success where the object is not seen"
    sums = found.weights.sum(1)
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-5), "weights of a mixture do not sum to one"
    assert bool((found.deviations > 0).all()), "a deviation is positive"
    assert all(status in _STATUSES for status in found.status), f"a status is one of {', '.join(_STATUSES)}"
    assert bool((found.blanks <= found.renders).all()), "more blank views than views"
    rates = found.success_rate
    assert bool((rates.isnan() | ((rates >= 0) & (rates <= 1))).all()), "a rate leaves [0, 1]"


def _check_same(whole: AttackedViews, part: AttackedViews, rows: list[int], message: str) -> None:
    assert part.status == tuple(whole.status[row] for row in rows), message
    assert torch.allclose(part.means, whole.means[rows], atol=1e-5), message
    assert torch.allclose(part.viewpoints, whole.viewpoints[rows], atol=1e-4), message
    assert torch.equal(part.success, whole.success[rows]), message
    assert torch.equal(part.renders, whole.renders[rows]), message
