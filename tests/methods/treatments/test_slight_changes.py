"""Slight changes: a little turned, larger or smaller, in a little other light, and each image for itself."""

from types import SimpleNamespace

import torch

from snellen.core.randomness import Randomness
from snellen.methods.treatments import class_balance
from snellen.methods.treatments.class_balance import BalancedTuning
from snellen.methods.treatments.slight_changes import LIGHT, SIZE, slight_changes
from snellen.methods.treatments.steady_changes import OFTEN

SIDE, COUNT = 33, 200


def discs():
    """A light disc in the middle of each image, on dark ground."""
    across = torch.arange(SIDE) - SIDE // 2
    inside = (across[:, None].square() + across.square()).sqrt() < 9
    return (0.2 + 0.5 * inside).expand(COUNT, 3, SIDE, SIDE)


def test_sizes_and_light_change_a_little_and_differ():
    images, targets = discs(), torch.zeros(COUNT)
    rng = Randomness(0).for_examples([str(one) for one in range(COUNT)])
    changed, same = slight_changes()(images, targets, rng)
    assert torch.equal(same, targets)
    middle = (changed.amax((1, 2, 3)) + changed.amin((1, 2, 3))) / 2
    areas = (changed[:, 0] > middle[:, None, None]).sum((1, 2)) / (images[0, 0] > 0.4).sum()
    assert 1 / SIZE**2 - 0.06 < float(areas.min()) < 0.8
    assert 1.25 < float(areas.max()) < SIZE**2 + 0.06
    ratios = changed.mean((1, 2, 3)) / images.mean()
    assert float(ratios.max()) < (1 + LIGHT) * SIZE**2
    assert float(ratios.std()) > 0.1
    few, _ = slight_changes()(images[:5], targets[:5], rng[range(5)])
    torch.testing.assert_close(few, changed[:5])


def test_a_balanced_tuning_changes_images_slightly_only_on_request(monkeypatch):
    monkeypatch.setattr(class_balance, "steady_changes", lambda patient: None)
    store = SimpleNamespace(targets=torch.arange(COUNT) % 2)
    classifier = SimpleNamespace(class_names=("a", "b"))
    patient = SimpleNamespace(training=store, classifier=classifier, images=None, subjects=lambda kind: ())
    assert BalancedTuning().term(patient, rng=Randomness(0)).transforms == ()
    changes = BalancedTuning(slight=True).term(patient, rng=Randomness(0)).transforms
    assert len(changes) == OFTEN
    images = discs()
    changed, _ = changes[0](images, store.targets, Randomness(0).bind(COUNT))
    assert (changed != images).flatten(1).any(1).all()
