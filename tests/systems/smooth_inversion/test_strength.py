"""The length of changes: chosen from what the model does, and given if it is given."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.systems.smooth_inversion import strength
from snellen.systems.smooth_inversion.class_scan import ScanPlan
from snellen.systems.smooth_inversion.scanning import scan_classes
from snellen.systems.smooth_inversion.strength import adversarial_radius, choose_strength, longest_change
from tests.systems.smooth_inversion.test_scanning import PLAN
from tests.systems.smooth_inversion.toy_models import NAMES, TARGET, classifier, pixels


def linear(weights):
    """Scores are the means of three quarters of the image, times a weight."""

    class Means(nn.Module):
        def forward(self, images):
            return images.mean(1).flatten(1).unflatten(1, (4, -1)).mean(2)[:, :3] * weights

    return Classifier(Means(), class_names=NAMES[:3], preparation=Preprocessing(size=(8, 8)), name="linear")


def test_the_radius_is_the_distance_to_the_next_class():
    images = torch.full((6, 3, 8, 8), 0.5)
    images[:, :, :2] = 0.6  # the first quarter of the rows is brighter by 0.1
    found = adversarial_radius(linear(1.0), images, rng=Randomness(0))
    # Two quarters of 48 values each move towards each other by 0.05: √(96 · 0.05²).
    assert found == pytest.approx((96 * 0.05**2) ** 0.5, rel=0.1)


@pytest.mark.parametrize("times", [0.5, 2.0])
def test_the_length_follows_the_model_and_stays_below_what_the_size_allows(times):
    images, _ = pixels(8)
    model = classifier(0.0)
    found = choose_strength(model, images, lambda size: min(1.0, size / times), wanted=0.2, rng=Randomness(0))
    assert found.epsilon == pytest.approx(0.2 * times, rel=0.3)
    assert abs(found.reached - 0.2) <= 0.04
    assert found.radius > 0
    never = choose_strength(model, images, lambda size: 0.0, wanted=0.2, rng=Randomness(0))
    assert never.epsilon <= longest_change(8, 8)
    assert never.reached == 0


@pytest.mark.parametrize(("radius", "first"), [(0.1, 0.5), (None, 3**0.5 / 4), (1e-9, 3**0.5 / 64), (50.0, 3**0.5)])
def test_lengths_begin_at_five_radii_and_never_exceed_an_eighth_of_the_longest_change(monkeypatch, radius, first):
    monkeypatch.setattr(strength, "adversarial_radius", lambda *_, **__: radius)
    tried = []

    def nothing_is_reached(size):
        tried.append(size)
        return 0.0

    images, _ = pixels(4)  # 8 pixels wide: √(3 · 8 · 8) / 8 is √3
    choose_strength(classifier(0.0), images, nothing_is_reached, wanted=0.2, rng=Randomness(0))
    assert tried[0] == pytest.approx(first)
    assert max(tried) <= 3**0.5 + 1e-9
    assert max(tried) > first or first == 3**0.5


def test_a_scan_chooses_the_length_at_which_the_middle_class_is_hardly_reached():
    images, labels = pixels(60)
    longer = replace(PLAN.screening, steps=30)
    plan = replace(PLAN, usual=0.1, screening=longer, refinement=longer)
    found = scan_classes(classifier(), images, labels, plan, rng=Randomness(0))
    assert found.strength.reached is not None
    assert 0 < found.strength.epsilon <= longest_change(8, 8)
    assert found.strength.epsilon != PLAN.screening.epsilon
    assert found.ranking[0] == TARGET
    assert [one.target for one in found.suspicious(plan)] == [TARGET]
    assert all(float(one.change.norm()) <= found.strength.epsilon + 1e-5 for one in found.recovered)
    given = scan_classes(classifier(), images, labels, PLAN, rng=Randomness(0))
    assert given.strength.epsilon == PLAN.screening.epsilon
    assert given.strength.radius is None
    assert ScanPlan().at(1.5).refinement.epsilon == ScanPlan().at(1.5).screening.epsilon == 1.5
