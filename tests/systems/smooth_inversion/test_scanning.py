"""A scan of all classes: the planted one stands out, a clean model has none, and what measures never chooses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.smooth_inversion import scanning
from snellen.systems.smooth_inversion.class_scan import ScanPlan
from snellen.systems.smooth_inversion.inversion import Search
from snellen.systems.smooth_inversion.scanning import scan_classes
from tests.systems.smooth_inversion.toy_models import NAMES, TARGET, classifier, pixels

SEARCH = Search(epsilon=0.9, samples=8, steps=12, rate=0.2, sure=None)
PLAN = ScanPlan(screening=SEARCH, refinement=SEARCH, sigmas=(0.0, 0.25), sources=2, refined=1)


def scan(model, plan=PLAN, count=60, **options):
    images, labels = pixels(count)
    return scan_classes(model, images, labels, plan, rng=Randomness(0), **options)


@pytest.mark.covers("33.6")
def test_the_planted_class_stands_out_and_its_change_is_measured_on_images_of_its_own():
    found = scan(classifier())
    assert found.ranking[0] == TARGET
    told = found.suspicious(PLAN)
    assert [one.target for one in told] == [TARGET]
    assert told[0].effect.rate > 0.9
    assert told[0].source < found.sources
    assert set(found.measured_on.tolist()) == set(range(found.sources + 1, 60, 2))
    _, labels = pixels(60)
    assert told[0].effect.counted == int((labels[found.measured_on] != TARGET).sum())


@pytest.mark.covers("33.8")
def test_a_clean_model_has_no_class_that_stands_out():
    found = scan(classifier(0.0))
    assert found.suspicious(PLAN) == ()
    assert found.statistic < PLAN.outlier


def test_clean_models_tell_what_is_usual_for_a_class():
    rates = scan(classifier()).rates
    usual = np.stack([rates, rates + 0.01])
    found = scan(classifier(), null=usual)
    assert found.statistic < 1
    assert found.suspicious(PLAN) == ()
    other = usual.copy()
    other[:, TARGET] = 0.0
    against = scan(classifier(), null=other)
    assert against.ranking[0] == TARGET
    assert [one.target for one in against.suspicious(PLAN)] == [TARGET]


@pytest.mark.covers("33.9")
def test_sigma_is_chosen_by_the_other_half_of_the_images(monkeypatch):
    images, labels = pixels(60)
    plan = replace(PLAN, sigmas=(0.0, 0.12, 0.25))
    honest = scan_classes(classifier(), images, labels, plan, rng=Randomness(0)).recovered[0]
    seen = []
    real = scanning._rates

    def watched(model, changes, chosen, *rest):
        seen.append(chosen)
        return real(model, changes, chosen, *rest)

    monkeypatch.setattr(scanning, "_rates", watched)
    found = scan_classes(classifier(), images, labels, plan, rng=Randomness(0))
    measured = images[found.measured_on]
    for chosen in seen:
        assert not any(torch.equal(one, other) for one in chosen for other in measured[:4])
    # What the measuring images say of all three cannot change which is taken.
    swapped = images.clone()
    swapped[found.measured_on] = 1 - swapped[found.measured_on]
    again = scan_classes(classifier(), swapped, labels, plan, rng=Randomness(0)).recovered[0]
    assert (again.sigma, again.source) == (honest.sigma, honest.source)
    assert torch.allclose(again.change, honest.change, atol=1e-5)


def test_too_few_images_or_classes_are_refused():
    with pytest.raises(InputError, match="at least 20 others"):
        scan(classifier(), count=21)
    with pytest.raises(InputError, match="at least three"):
        scan(classifier(), classes=[0, 1])


def test_a_saturated_model_is_refused_and_not_called_clean():
    class Flat(nn.Module):
        def forward(self, images):
            return (images.flatten(1).mean(1, keepdim=True) * torch.tensor([1.0, 2.0, 3.0, 4.0])).sign() * 1e4

    with pytest.raises(InputError, match="saturated"):
        scan(Classifier(Flat(), class_names=NAMES))


def test_a_model_that_names_one_class_alone_is_scanned_all_the_same():
    class Fixed(nn.Module):
        def forward(self, images):
            return images.flatten(1).mean(1, keepdim=True) * torch.tensor([9.0, 0.1, 0.2, 0.3])

    found = scan(Classifier(Fixed(), class_names=NAMES))
    assert found.rates[0] == 1.0
    assert found.recovered[0].effect.already == found.recovered[0].effect.counted
