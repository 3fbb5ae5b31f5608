"""Robust accuracy: which images, which budget, and scores before any softmax."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.robust_accuracy import correct_rows, in_pixels, measure_robustness, noise_of_norm

CLASSES = ("safe", "unsafe")


class Brightness(nn.Module):
    """Unsafe is brighter than a half; every pixel weighs the same."""

    def forward(self, images):
        margin = 40 * (images.mean((1, 2, 3)) - 0.5)
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


def problem(count=60):
    levels = torch.linspace(0.4, 0.6, count)
    images = levels.view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    return Classifier(Brightness(), class_names=CLASSES), images, (levels > 0.5).long()


def measured(**options):
    classifier, images, unsafe = problem()
    return measure_robustness(classifier, images, unsafe, [str(at) for at in range(60)], steps=10, **options)


@pytest.mark.covers("29.7")
def test_only_correctly_judged_images_are_attacked_and_the_seed_decides_which():
    classifier, images, unsafe = problem()
    wrong = unsafe.clone()
    wrong[:20] = 1 - wrong[:20]
    ids = [str(at) for at in range(60)]
    found = measure_robustness(classifier, images, wrong, ids, count=25, seed=2023, steps=3)
    assert len(found.rows) == 25
    assert int(found.rows.min()) >= 20
    again = measure_robustness(classifier, images, wrong, ids, count=25, seed=2023, steps=3)
    assert torch.equal(found.rows, again.rows)
    assert not torch.equal(found.rows, correct_rows(classifier(images).argmax(1) == wrong, 25, seed=2024))
    with pytest.raises(InputError, match="no image is classified correctly"):
        measure_robustness(classifier, images, 1 - unsafe, ids)


@pytest.mark.covers("29.7")
def test_a_classifier_that_is_not_right_again_is_refused():
    answers = iter(range(1000))

    def moody(images):
        return torch.tensor([[0.0, 1.0], [1.0, 0.0]])[[next(answers) % 2] * len(images)]

    classifier = Classifier(moody, class_names=CLASSES, differentiable=True)
    with pytest.raises(InputError, match="differently each time"):
        measure_robustness(classifier, torch.rand(4, 3, 8, 8), torch.ones(4).long(), list("abcd"))


@pytest.mark.covers("29.8")
def test_noise_and_attacks_have_one_size_in_pixels():
    images = torch.full((5, 3, 8, 8), 0.5)
    for norm, order in (("linf", torch.inf), ("l2", 2)):
        change = (noise_of_norm(images, norm, 0.03, Randomness(0)) - images).flatten(1)
        assert torch.allclose(torch.linalg.vector_norm(change, order, dim=1), torch.full((5,), 0.03), atol=1e-5)
    found = measured(epsilon=0.05)
    clean = problem()[1].mean((1, 2, 3))[found.rows]
    for attack in ("fgsm", "pgd", "deepfool"):
        # DeepFool goes 2 % beyond the boundary, and that counts within the budget as well.
        reachable = (clean - 0.5).abs() * (1.02 if attack == "deepfool" else 1) < 0.05
        assert torch.equal(~found.stands[attack], reachable), attack
        assert found.accuracy(attack) == pytest.approx(1 - float(reachable.float().mean()))
    assert float(found.stands["noise"].float().mean()) > 0.9


@pytest.mark.covers("29.8")
def test_budgets_of_normalised_pixels_are_converted():
    assert in_pixels(0.01, (0.5, 0.25, 1.0)) == (0.005, 0.0025, 0.01)
    normalised = (torch.tensor([0.6]) + 0.005 - 0.48) / 0.5 - (torch.tensor([0.6]) - 0.48) / 0.5
    assert float(normalised) == pytest.approx(0.01, abs=1e-6)


@pytest.mark.covers("29.8")
def test_probabilities_are_refused_where_logits_are_needed():
    _, images, unsafe = problem()
    soft = Classifier(Brightness(), class_names=CLASSES, output="log-probabilities")
    with pytest.raises(InputError, match="before any softmax"):
        measure_robustness(soft, images, unsafe, [str(at) for at in range(60)])


def test_draws_do_not_depend_on_the_batch():
    one, other = (measured(batch_size=size, epsilon=0.02) for size in (7, 64))
    for attack in one.stands:
        assert torch.equal(one.stands[attack], other.stands[attack])
