"""Scaled scores: what they are worth on other images, and that a last layer takes them up."""

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.finding import Finding
from snellen.core.randomness import Randomness
from snellen.methods.treatments.score_scaling import (
    DirichletScaling,
    ScaledScores,
    TemperatureScaling,
    VectorScaling,
    scaled,
)
from snellen.metrics.temperature import negative_log_likelihood
from snellen.models.classifiers.trainable import trainable
from snellen.training.evaluation import score_examples
from tests.methods.treatments.planted import NAMES, SEEN, SIDE, patient, pictures, trained

SURE = Finding(kind="calibration", harm=0.0, title="planted")
HARD = {"contrast": 0.2, "noise": 0.4}
EVEN = (np.arange(240) % 2).tolist()


@pytest.fixture(scope="module")
def sure():
    """Trained by heart on few hard pictures, with others to fit and to judge."""
    few = pictures(EVEN[:40], **HARD)
    return trained(few, epochs=60), *(pictures(EVEN, seed=seed, **HARD) for seed in (1, 2))


@pytest.mark.parametrize("treatment", [TemperatureScaling(), VectorScaling(), DirichletScaling()])
def test_less_is_lost_on_other_images(sure, treatment):
    audited, fitting, other = sure
    case = patient(audited, None, fitting, SURE)
    judged = patient(audited, None, other, SURE).val
    network = treatment.treat(trainable(audited), case, rng=Randomness(0))
    assert not isinstance(network.network, ScaledScores), "the last layer takes it up"
    losses = []
    for one in (trainable(audited), network):
        scores, labels = score_examples(one.eval(), judged)
        losses.append(negative_log_likelihood(scores.numpy(), labels.numpy()))
    assert losses[1] < losses[0] - 0.1


@pytest.mark.parametrize("treatment", [VectorScaling(), DirichletScaling()])
def test_few_validation_images_are_refused(sure, treatment):
    audited, fitting, _ = sure
    case = patient(audited, None, fitting.select(range(39)), SURE)
    assert "needs 40 validation images" in treatment.refusal(trainable(audited), case)
    assert treatment.refusal(trainable(audited), patient(audited, None, fitting.select(range(40)), SURE)) is None


@pytest.mark.parametrize("scale", [torch.tensor([0.5, 2.0]), torch.tensor([[0.5, 0.3], [0.0, 0.8]])])
@pytest.mark.parametrize("last", [nn.Identity(), nn.LogSoftmax(1)])
def test_a_layer_and_a_module_behind_it_give_the_same_scores(scale, last):
    layer = nn.Linear(3 * SIDE**2, 2)
    audited = Classifier(nn.Sequential(nn.Flatten(), layer, last), class_names=NAMES, preparation=SEEN)
    network, shift = trainable(audited), torch.tensor([0.25, -0.25])
    images = torch.rand(5, 3, SIDE, SIDE)
    before = network(images)
    wanted = (before * scale if scale.ndim == 1 else before @ scale.T) + shift
    made = scaled(network, scale, shift, images)
    torch.testing.assert_close(made(images), wanted)
    # A matrix or scales of log-probabilities would multiply the constant that these hold.
    assert isinstance(made.network, ScaledScores) == isinstance(last, nn.LogSoftmax)
