"""Averages over transformations: means, counts, and batches."""

import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.carlini_wagner_l2 import CarliniWagnerL2
from snellen.methods.attacks.perturbation import LinfBall, SignStep, cross_entropy, on_scores, perturb
from snellen.methods.attacks.perturbation.expectation import averaged, over_transformations
from snellen.methods.attacks.pgd import PGD
from snellen.testing.conformance import small_problem


def noise(images, rng):
    return (images + 0.1 * rng.normal("noise", images.shape[1:], like=images).to(images)).clamp(0, 1)


def attack(classifier, images, labels, rng, draws=4):
    evaluate = over_transformations(on_scores(classifier, cross_entropy), noise, draws=draws, rng=rng)
    return perturb(
        classifier, images, labels, evaluate=evaluate, projection=LinfBall(0.05), step_rule=SignStep(0.01),
        criterion=Misclassified(), steps=6, rng=rng,
    )  # fmt: skip


def test_scores_and_values_are_means_over_draws_that_differ():
    classifier, images, labels = small_problem(count=4)
    rng = Randomness(0).bind(4)
    seen = []

    def recording(candidates, labels, positions):
        seen.append(candidates.clone())
        return on_scores(classifier, cross_entropy)(candidates, labels, positions)

    evaluate = over_transformations(recording, noise, draws=3, rng=rng)
    scores, values = evaluate(images, labels, torch.arange(4))
    assert torch.allclose(scores, torch.stack([classifier(batch) for batch in seen]).mean(0), atol=1e-6)
    each = torch.stack([cross_entropy(classifier(batch), labels) for batch in seen])
    assert torch.allclose(values, each.mean(0), atol=1e-6)
    evaluate(images, labels, torch.arange(4))
    assert len({float(batch.sum()) for batch in seen}) == 6


def test_counts_are_those_of_the_classifier():
    classifier, images, labels = small_problem()
    with classifier.counting() as spent:
        attacked = attack(classifier, images, labels, Randomness(0).bind(12))
    assert attacked.spent.counts() == spent().counts()
    assert (attacked.queries % 4 == 0).all()


def test_a_batch_gives_what_its_images_give_alone():
    classifier, images, labels = small_problem()
    rng = Randomness(3).for_examples([f"image {i}" for i in range(12)])
    whole = attack(classifier, images, labels, rng)
    assert whole.success.sum() > 0
    for i in (0, 7):
        alone = attack(classifier, images[[i]], labels[[i]], rng[[i]])
        assert torch.allclose(alone.images[0], whole.images[i], atol=1e-6)
        assert int(alone.queries) == int(whole.queries[i])


def test_more_images_fall_under_noise_than_to_an_attack_that_does_not_know_of_it():
    classifier, images, labels = small_problem(count=60)
    knowing = PGD(epsilon=0.02, steps=20, random_start=False)
    unknowing = knowing.attack(classifier, images, labels)
    expecting = knowing.attack(averaged(classifier, noise, draws=16), images, labels)
    judge = averaged(classifier, noise, draws=64, rng=Randomness(99))
    rates = [float((judge(a.images).argmax(1) != labels).float().mean()) for a in (unknowing, expecting)]
    assert rates[1] > rates[0]


def test_a_classifier_that_is_random_itself_is_averaged_too():
    classifier, images, labels = small_problem()
    generator = torch.Generator().manual_seed(0)

    def random(batch):
        return classifier.module(batch + 0.05 * torch.randn(batch.shape, generator=generator))

    stochastic = Classifier(random, class_names=list("abcde"), differentiable=True)
    one, many = averaged(stochastic, None, draws=1), averaged(stochastic, None, draws=64)

    def spread(of):
        return float(torch.stack([of(images) for _ in range(8)]).std(0).mean())

    assert spread(many) < 0.3 * spread(one)
    assert PGD(epsilon=0.1, steps=3).attack(many, images, labels).success.any()


def test_an_average_is_a_classifier_for_any_attack():
    classifier, images, labels = small_problem(count=4)
    mean = averaged(classifier, noise, draws=2)
    attacked = CarliniWagnerL2(steps=40, searches=2, first_weight=1.0).attack(mean, images, labels)
    assert torch.equal(mean(attacked.images).argmax(1) != labels, attacked.success)
    assert attacked.success.any()


def test_no_draws_and_unbound_randomness_are_refused():
    classifier, _, _ = small_problem()
    evaluate = on_scores(classifier, cross_entropy)
    with pytest.raises(InputError, match="at least 1 draw, got 0"):
        over_transformations(evaluate, noise, draws=0, rng=Randomness(0).bind(2))
    with pytest.raises(InputError, match="bind it"):
        over_transformations(evaluate, noise, draws=2, rng=Randomness(0))
    with pytest.raises(InputError, match="at least 1 draw"):
        averaged(classifier, noise, draws=0)
