"""Adversarial fine-tuning: attacks that broke every image break few, and clean images stay right."""

import numpy as np
import pytest
import torch

from snellen.core.criterion import Misclassified
from snellen.core.finding import Finding
from snellen.core.randomness import Randomness
from snellen.methods.attacks.pgd import PGD
from snellen.methods.treatments.adversarial_tuning import PGDTuning, TradesTuning, divergence, threat_of
from snellen.models.classifiers.trainable import trainable, trained_classifier
from snellen.training.batches import Batch
from snellen.training.fine_tuning import TuningPlan
from tests.methods.treatments.planted import accuracy, patient, pictures, store, trained

CLASSES = (np.arange(240) % 2).tolist()
SHORT = TuningPlan(epochs=10, least_steps=0, batch_size=32, rate=0.02)


def fragile(*subjects):
    images = pictures(CLASSES)
    findings = [Finding(kind="adversarial", subject=one, harm=0.3, title="planted") for one in subjects]
    return patient(trained(images, epochs=8), images, pictures(CLASSES, seed=1), *findings)


def withstood(classifier, images, subject):
    shown, threat = store(images), threat_of(subject)
    attack = PGD(norm=threat.norm, epsilon=threat.epsilon, steps=10)
    rng = Randomness(5).for_examples(shown.ids)
    found = attack.attack(classifier, shown.images / 255, shown.targets, criterion=Misclassified(), rng=rng)
    return 1 - float(found.success.double().mean())


@pytest.mark.parametrize("method", [PGDTuning, TradesTuning])
def test_images_withstand_what_broke_them_and_clean_ones_stay_right(method):
    case, fresh = fragile("linf.24"), pictures(CLASSES[:100], seed=2)
    treated = method(plan=SHORT, steps=3).treat(trainable(case.classifier), case, rng=Randomness(0))
    assert withstood(case.classifier, fresh, "linf.24") < 0.3
    assert withstood(trained_classifier(case.classifier, treated, "treated"), fresh, "linf.24") > 0.75
    assert accuracy(treated, fresh) > accuracy(case.classifier, fresh) - 0.02


@pytest.mark.parametrize("method", [PGDTuning, TradesTuning])
@pytest.mark.parametrize("subject", ["linf.24", "l2.0.5"])
def test_the_inner_attack_stays_in_the_ball_and_leaves_modes_as_they_were(method, subject):
    case, seen = fragile(subject), []
    images, targets = case.training.read(torch.arange(16))
    rng = Randomness(0).for_examples(case.training.ids[:16])
    batch = Batch(images / 255, targets, torch.ones(16), torch.arange(16), rng)
    network = trainable(case.classifier).train()
    network.register_forward_pre_hook(lambda model, given: seen.append((model.training, given[0].detach())))
    losses = method().term(case, rng=Randomness(0)).objective(network, batch)
    assert losses.shape == (16,)
    assert losses.requires_grad
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    inner, (mode, last) = seen[:-1], seen[-1]
    assert mode
    assert not any(training for training, _ in inner), "the attack sees the network as it will be deployed"
    moved = (last[-16:] - batch.images).flatten(1)
    threat = threat_of(subject)
    lengths = torch.linalg.vector_norm(moved, torch.inf if threat.norm == "linf" else 2, dim=1)
    assert float(lengths.max()) <= threat.epsilon + 1e-6
    assert float(lengths.median()) > 0.9 * threat.epsilon, "an attack of few steps still goes to the edge"
    assert 0 <= float(last.min()) <= float(last.max()) <= 1


def test_the_loss_of_trades_is_that_of_equation_5():
    clean, attacked = torch.randn(5, 3), torch.randn(5, 3)
    expected = torch.nn.functional.kl_div(attacked.log_softmax(1), clean.softmax(1), reduction="none").sum(1)
    assert torch.allclose(divergence(clean, attacked), expected, atol=1e-6)
    assert TradesTuning().beta == 6.0


def test_a_threat_that_is_no_ball_is_refused():
    case = fragile("linf.8", "patch.3")
    assert "and not patch.3" in PGDTuning().refusal(trainable(case.classifier), case)
    assert threat_of("linf.8") == ("linf", 8 / 255)
    assert threat_of("l2.0.5") == ("l2", 0.5)
    assert threat_of("linf.much") is None
    both = fragile("linf.8", "l2.0.5")
    assert TradesTuning().refusal(trainable(both.classifier), both) is None
