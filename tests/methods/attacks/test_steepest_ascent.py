"""One step and many steps on any objective: on cross-entropy they are FGSM and PGD."""

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.perturbation import cross_entropy, negative_margin
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.steepest_ascent import many_steps, one_step
from snellen.testing.conformance import small_problem


@pytest.mark.covers("10.1")
def test_fgsm_stays_inside_takes_one_gradient_and_is_one_step_of_pgd():
    classifier, images, labels = small_problem(count=24)
    attacked = FGSM(epsilon=0.03).attack(classifier, images, labels)
    assert 0 < int(attacked.success.sum()) < 24
    assert (attacked.images - images).abs().max() <= 0.03 + 1e-6
    assert attacked.images.min() >= 0
    assert attacked.images.max() <= 1
    assert attacked.gradients.tolist() == [1] * 24
    with classifier.counting() as spent:
        one = PGD(epsilon=0.03, steps=1, step_size=0.03, random_start=False).attack(classifier, images, labels)
    assert spent().gradients == 24
    ours = one_step(classifier, images, labels, objective=cross_entropy, epsilon=0.03)
    assert torch.equal(one.images, attacked.images)
    assert torch.equal(ours.images, attacked.images)


@pytest.mark.covers("10.2")
@pytest.mark.parametrize("objective", [cross_entropy, negative_margin])
def test_a_batch_is_its_images_one_by_one(objective):
    classifier, images, labels = small_problem(count=10)
    rng = Randomness(3).for_examples([f"{i}" for i in range(10)])
    for attack in (
        lambda x, y, _: one_step(classifier, x, y, objective=objective, epsilon=0.03),
        lambda x, y, r: many_steps(classifier, x, y, objective=objective, epsilon=0.03, steps=4, rng=r),
    ):
        whole = attack(images, labels, rng)
        for row in range(10):
            alone = attack(images[row : row + 1], labels[row : row + 1], rng[[row]])
            assert torch.equal(alone.success, whole.success[row : row + 1])
            assert torch.allclose(alone.images, whole.images[row : row + 1], atol=1e-6)
            assert alone.queries.tolist() == whole.queries[row : row + 1].tolist()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_many_steps_on_cross_entropy_are_pgd(norm):
    classifier, images, labels = small_problem(count=12)
    pgd = PGD(norm=norm, epsilon=0.05, steps=6).attack(classifier, images, labels, rng=Randomness(1))
    ours = many_steps(
        classifier, images, labels, objective=cross_entropy, norm=norm, epsilon=0.05, steps=6, rng=Randomness(1)
    )
    assert torch.equal(pgd.images, ours.images)
    assert pgd.queries.tolist() == ours.queries.tolist()
