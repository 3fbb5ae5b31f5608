"""Training labels that are wrong: found by held-out opinions, and taken out of what the network learnt."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.finding import Finding
from snellen.core.randomness import Randomness
from snellen.methods.treatments.label_cleaning import LabelCorrection, SuspectRemoval, suspect_labels
from snellen.methods.treatments.treatment import treat_together
from snellen.models.classifiers.trainable import trainable
from snellen.training.fine_tuning import Term, fine_tune
from tests.methods.treatments.planted import LONG, accuracy, patient, pictures, store, trained

NOISE = Finding(kind="label_noise", harm=0.3, title="planted")
CLASSES = (np.arange(240) % 2).tolist()
WRONG = np.random.default_rng(0).random(240) < 0.3


@pytest.fixture(scope="module")
def memorised():
    """Trained until it repeats its labels, three in ten of which are wrong."""
    labels = np.where(WRONG, 1 - np.array(CLASSES), CLASSES).tolist()
    images = pictures(CLASSES, labels=labels, contrast=0.4)
    return patient(trained(images, epochs=30), images, pictures(CLASSES, seed=1, contrast=0.4), NOISE)


def test_suspects_are_the_wrong_labels_although_the_network_repeats_them(memorised):
    assert accuracy(memorised.classifier, memorised.images) > 0.95
    found = suspect_labels(memorised)
    right = WRONG[found.suspects.numpy()]
    assert right.mean() > 0.85
    assert right.sum() > 0.85 * WRONG.sum()
    assert torch.equal(found.suggested, 1 - memorised.training.targets[found.suspects])
    assert suspect_labels(replace(memorised, findings=())) is found, "the images are judged once"


@pytest.mark.parametrize(
    "treatment",
    [SuspectRemoval(plan=LONG), LabelCorrection(plan=LONG), LabelCorrection(plan=LONG, soft=False)],
    ids=str,
)
def test_accuracy_that_wrong_labels_cost_is_won_back(memorised, treatment):
    fresh = pictures(CLASSES, seed=2, contrast=0.4)
    before = accuracy(memorised.classifier, fresh)
    treated = treatment.treat(trainable(memorised.classifier), memorised, rng=Randomness(0))
    assert before < 0.85
    assert accuracy(treated, fresh) > before + 0.1


def test_what_is_trained_on_is_what_the_opinions_say(memorised):
    found, labels = suspect_labels(memorised), memorised.training.targets
    weights = SuspectRemoval().term(memorised, rng=Randomness(0)).weights
    assert sorted((weights == 0).nonzero().flatten().tolist()) == sorted(found.suspects.tolist())
    targets = LabelCorrection().term(memorised, rng=Randomness(0)).targets
    assert torch.allclose(targets.sum(1), torch.ones(len(labels)), atol=1e-5)
    assert torch.equal(targets[weights == 1].argmax(1), labels[weights == 1])
    assert torch.equal(targets[found.suspects], found.probabilities[found.suspects])
    hard = LabelCorrection(soft=False).term(memorised, rng=Randomness(0)).targets
    assert torch.equal(hard[found.suspects].argmax(1), found.suggested)


def test_right_labels_and_few_images_are_refused():
    images = pictures(CLASSES, contrast=0.8)
    clean = patient(trained(images, epochs=4), images, images, NOISE)
    network = trainable(clean.classifier)
    assert "no training label that looks wrong" in SuspectRemoval().refusal(network, clean)
    few = replace(clean, train=store(pictures(CLASSES[:20])), images=None, remembered={})
    assert "50 training images or more" in LabelCorrection().refusal(network, few)


def test_one_training_has_one_set_of_labels(memorised):
    network, targets = trainable(memorised.classifier), torch.zeros(240, 2)
    with pytest.raises(InputError, match="2 treatments change the training labels"):
        fine_tune(network, memorised.training, [Term(targets=targets)] * 2, plan=LONG, rng=Randomness(0))
    both = [SuspectRemoval(plan=LONG), LabelCorrection(plan=LONG)]
    treated = treat_together(both, network, memorised, rng=Randomness(0))
    assert accuracy(treated, pictures(CLASSES, seed=2, contrast=0.4)) > 0.85
