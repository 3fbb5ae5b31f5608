"""Sizes of gradients against autograd written out, and zeros where softmax has saturated."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.methods.attacks.gradient_sizes import gradient_sizes
from snellen.testing.conformance import small_problem


def scaled(factor):
    """The small problem's model with logits so many times as large."""
    classifier, images, labels = small_problem(count=20)
    last = [module for module in classifier.module.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(factor)
    return classifier, images, labels


def test_equals_autograd_one_by_one_and_counts():
    classifier, images, labels = small_problem(count=6)
    with classifier.counting() as spent:
        sizes = gradient_sizes(classifier, images, labels)
    assert (spent().queries, spent().gradients) == (6, 12)
    for row in range(6):
        x = images[row : row + 1].clone().requires_grad_(True)
        scores = classifier(x)
        (entropy,) = torch.autograd.grad(F.cross_entropy(scores, labels[row : row + 1]), x, retain_graph=True)
        assert sizes.cross_entropy[row] == pytest.approx(float(entropy.abs().max()), rel=1e-4)
        others = scores[0].clone()
        others[labels[row]] = -torch.inf
        (margin,) = torch.autograd.grad(others.max() - scores[0, labels[row]], x)
        assert sizes.margin[row] == pytest.approx(float(margin.abs().max()), rel=1e-4)
    assert not sizes.zero.any()


@pytest.mark.covers("10.6")
def test_zeros_come_with_the_scale_of_the_logits_and_leave_the_margin_alone():
    shares = []
    for factor in (1.0, 30.0, 1000.0, 1e5):
        classifier, images, _ = scaled(factor)
        labels = classifier(images).argmax(1)
        sizes = gradient_sizes(classifier, images, labels)
        assert (sizes.margin > 0).all()
        assert (sizes.saturated | ~sizes.zero).all(), "zero only where softmax is saturated"
        shares.append(float(sizes.zero.double().mean()))
    assert shares == sorted(shares)
    assert (shares[0], shares[-1] > 0.8) == (0.0, True)


def test_works_in_inference_mode_and_refuses_what_has_no_gradients():
    classifier, images, labels = small_problem(count=4)
    with torch.inference_mode():
        assert len(gradient_sizes(classifier, images, labels).zero) == 4
    blind = Classifier(lambda x: x.flatten(1)[:, :5], class_names=list("abcde"), name="blind")
    with pytest.raises(UnsupportedError, match="blind gives no gradients"):
        gradient_sizes(blind, images, labels)
    with pytest.raises(InputError, match="integer labels"):
        gradient_sizes(classifier, images, labels + 5)
