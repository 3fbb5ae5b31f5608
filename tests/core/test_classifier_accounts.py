"""The classifier counts images sent through it, and through its backward pass."""

import pytest
import torch
from torch import nn

from snellen.core.budget import Spent
from snellen.core.classifier import Classifier, Normalization
from tests.tiny_network import NAMES, make_network


@pytest.fixture
def classifier():
    return Classifier(make_network(), class_names=NAMES, name="tiny", feature_layer="2")


@pytest.fixture
def images():
    return torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def counted(queries, gradients=0):
    return Spent(queries=queries, gradients=gradients)


def test_queries_are_images(classifier, images):
    classifier(images)
    classifier(images[:2])
    with torch.no_grad():
        classifier(images[:1])
    with torch.inference_mode():
        classifier(images[:1])
    assert classifier.spent == counted(9)


@pytest.mark.parametrize("normalization", [None, Normalization((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))])
@pytest.mark.parametrize("leaf", [True, False])
def test_gradients_are_images_through_each_backward_pass(images, normalization, leaf):
    classifier = Classifier(make_network(), class_names=NAMES, normalization=normalization)
    variables = images.requires_grad_(True)
    scores = classifier(variables if leaf else variables * 0.5)
    scores.sum().backward(retain_graph=True)
    assert classifier.spent == counted(5, 5)
    scores[:, 0].sum().backward(retain_graph=True)
    torch.autograd.grad(scores[:, 1].sum(), variables)
    assert classifier.spent == counted(5, 15)


def test_a_part_of_the_batch_in_the_loss_is_still_a_pass_of_the_whole_batch(classifier, images):
    # The network's backward pass runs on all five images, whatever weight the loss gives them.
    images.requires_grad_(True)
    (gradient,) = torch.autograd.grad(classifier(images)[:2].sum(), images)
    assert not gradient[2:].any()
    assert classifier.spent == counted(5, 5)


def test_two_calls_in_one_graph_count_separately(classifier, images):
    images.requires_grad_(True)
    (classifier(images).sum() + classifier(images[:2]).sum()).backward()
    assert classifier.spent == counted(7, 7)


def test_a_leaf_that_is_used_again_is_counted_once_a_pass(classifier, images):
    images.requires_grad_(True)
    for passes in (1, 2, 3):
        classifier(images).sum().backward()
        assert classifier.spent == counted(5 * passes, 5 * passes)


def test_no_gradient_is_counted_where_none_is_taken(classifier, images):
    images.requires_grad_(True)
    with torch.no_grad():
        classifier(images)
    scores = classifier(images)
    assert classifier.spent == counted(10)
    other = torch.ones(3, requires_grad=True)
    torch.autograd.grad((scores.detach() * other).sum(), other)
    assert classifier.spent == counted(10)


def test_features_count_as_a_query_and_their_gradient_as_a_gradient(classifier, images):
    images.requires_grad_(True)
    classifier.features(images).sum().backward()
    assert classifier.spent == counted(5, 5)


def test_a_foreign_optimisation_loop_is_counted(classifier, images):
    """A loop that knows nothing of Snellen: torch's own optimiser on a function of images."""
    change = torch.zeros_like(images, requires_grad=True)
    optimiser = torch.optim.SGD([change], lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        nn.functional.cross_entropy(
            classifier((images + change).clamp(0, 1)), torch.zeros(5, dtype=torch.int64)
        ).backward()
        optimiser.step()
    assert classifier.spent == counted(15, 15)


def test_counting_tells_what_a_block_spends(classifier, images):
    classifier(images)
    with classifier.counting() as spent:
        assert spent() == counted(0)
        classifier(images[:2])
        with classifier.counting() as inner:
            classifier(images[:1].clone().requires_grad_(True)).sum().backward()
        assert inner() == counted(1, 1)
        assert spent() == counted(3, 1)
    classifier(images)
    assert classifier.spent == counted(13, 1)
