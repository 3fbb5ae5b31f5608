"""Images in another light, and classes that come more often: what validation images show of them is enough."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.finding import Finding
from snellen.core.randomness import Randomness
from snellen.methods.treatments.domain_reestimation import (
    DomainStatistics,
    LabelShift,
    shares_by_confusions,
    shares_by_em,
)
from snellen.models.classifiers.trainable import trainable
from tests.methods.treatments.planted import NAMES, SEEN, SIDE, accuracy, patient, pictures, trained

LIGHT = Finding(kind="drift", subject="features", harm=0.0, title="planted")
SHARES = Finding(kind="drift", subject="labels", harm=0.0, title="planted")
EVEN = (np.arange(240) % 2).tolist()


def test_images_in_another_light_are_right_again():
    light = {"contrast": 0.4, "light": (0.5, 0.3)}
    audited = trained(pictures(EVEN, contrast=0.4))
    case = patient(audited, None, pictures(EVEN, seed=1, **light), LIGHT)
    fresh = pictures(EVEN, seed=2, **light)
    treated = DomainStatistics().treat(trainable(audited), case, rng=Randomness(0))
    assert accuracy(audited, fresh) < 0.7
    assert accuracy(treated, fresh) > 0.95
    mixed = DomainStatistics(source_images=10**9).treat(trainable(audited), case, rng=Randomness(0))
    assert accuracy(mixed, pictures(EVEN, seed=3, contrast=0.4)) > 0.95, "statistics of many old images stay"


@pytest.mark.parametrize("by", ["em", "bbse"])
def test_classes_that_come_more_often_are_decided_more_often(by):
    hard = {"contrast": 0.25, "noise": 0.6, "corner": (4, 4)}
    often = (np.arange(300) % 10 == 0).astype(int).tolist()
    images = pictures((np.arange(600) % 2).tolist(), **hard)
    case = patient(trained(images, epochs=4), images, pictures(often, seed=1, **hard), SHARES)
    fresh = pictures(often, seed=2, **hard)
    treated = LabelShift(by=by).treat(trainable(case.classifier), case, rng=Randomness(0))
    assert accuracy(treated, fresh) > accuracy(case.classifier, fresh) + 0.05


def test_shares_are_those_of_the_classes_where_scores_are_calibrated():
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 40_000, p=[0.7, 0.2, 0.1])
    values = torch.from_numpy(rng.normal([0, 1.5, 3], 1, (40_000, 3))[np.arange(40_000), labels])
    means, prior = torch.tensor([0, 1.5, 3]), torch.tensor([0.2, 0.3, 0.5]).double()
    scores = prior.log() - (values[:, None] - means) ** 2 / 2
    assert shares_by_em(scores.softmax(1), prior).tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.01)
    source = rng.choice(3, 40_000, p=prior.numpy())
    seen = torch.from_numpy(rng.normal([0, 1.5, 3], 1, (40_000, 3))[np.arange(40_000), source])
    decided = (prior.log() - (seen[:, None] - means) ** 2 / 2).argmax(1)
    found = shares_by_confusions(decided, torch.from_numpy(source), scores.argmax(1), prior)
    assert found.tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.02)


def test_each_refuses_the_drift_of_the_other():
    images = pictures(EVEN)
    case = patient(trained(images, epochs=1), images, images, SHARES)
    network = trainable(case.classifier)
    assert "only the shares of the classes differ" in DomainStatistics().refusal(network, case)
    assert LabelShift().refusal(network, case) is None
    lit = replace(case, findings=(LIGHT,))
    assert "the audit found none" in LabelShift().refusal(network, lit)
    assert DomainStatistics().refusal(network, lit) is None
    one = pictures([0] * 10)
    assert f"none of {NAMES[1]}" in LabelShift().refusal(network, patient(case.classifier, one, images, SHARES))
    plain = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 2)), class_names=NAMES, preparation=SEEN)
    assert "BatchNorm" in DomainStatistics().refusal(trainable(plain), replace(lit, classifier=plain))
