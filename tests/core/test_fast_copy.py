"""Faster copies of networks: the same decisions, the owner's network as it was, none that would break."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snellen import load_classifier
from snellen.core.classifier import Classifier
from snellen.core.fast_copy import fast_copy, fold_normalisation
from snellen.core.preprocessing import Preprocessing

SIZE = Preprocessing(size=(12, 12))


class Convolutions(nn.Module):
    """Two convolutions and a linear layer, reshaped in one way or another."""

    def __init__(self, viewed: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.last, self.viewed = nn.Linear(8 * 144, 4), viewed

    def forward(self, images):
        found = self.second(self.first(images).relu()).relu()
        return self.last(found.view(len(found), -1) if self.viewed else found.flatten(1))


def made(module: nn.Module, **more: object) -> Classifier:
    return Classifier(module, class_names="abcd", preparation=more.pop("preparation", SIZE), **more)


@pytest.fixture
def images():
    return torch.rand(16, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def test_the_copy_is_laid_out_anew_and_the_owners_network_is_not(images):
    classifier = made(Convolutions())
    other = fast_copy(classifier)
    assert other.module.second.weight.is_contiguous(memory_format=torch.channels_last)
    assert classifier.module.second.weight.is_contiguous()
    assert other.fingerprint() == classifier.fingerprint()
    with classifier.counting() as spent:
        assert torch.allclose(other(images), classifier(images), atol=1e-5)
        assert spent().queries == 32, "what the copy spends counts for the classifier"
    assert fast_copy(classifier).spent == classifier.spent.__class__(), "trying costs nobody anything"


def test_the_bundled_classifier_decides_the_same():
    classifier = load_classifier("bundled:fashion-cnn")
    other = fast_copy(classifier)
    assert other is not classifier
    images = torch.rand(64, 3, 28, 28, generator=torch.Generator().manual_seed(2))
    assert torch.equal(other(images).argmax(1), classifier(images).argmax(1))


@pytest.mark.parametrize(
    "kept",
    [
        made(Convolutions(viewed=True)),  # cannot be viewed in the other layout
        made(nn.Sequential(nn.Conv2d(3, 4, 12), nn.Flatten())),  # one convolution gains nothing
        made(Convolutions(), preparation=Preprocessing()),  # of no known size
        Classifier(lambda batch: batch.mean((2, 3)), class_names="abc", preparation=SIZE),
    ],
    ids=["viewed", "one convolution", "any size", "callable"],
)
def test_others_are_left_alone(kept):
    assert fast_copy(kept) is kept


def test_a_network_with_hooks_or_other_results_is_left_alone():
    hooked = made(Convolutions())
    hooked.module.first.register_forward_hook(lambda _layer, _inputs, output: output)
    assert fast_copy(hooked) is hooked

    class Layouts(Convolutions):
        def forward(self, images):
            found = self.first(images)
            return super().forward(images) + float(found.is_contiguous())

    other = made(Layouts())
    assert fast_copy(other) is other


class Normalised(nn.Module):
    """Convolutions with BatchNorm in the places where it can be folded, and where it cannot."""

    def __init__(self, spy: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.twice, self.norm2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.third, self.norm3 = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.sum, self.last, self.spy = nn.BatchNorm2d(8), nn.Linear(8, 4), spy
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 2)
                nn.init.normal_(layer.bias)
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
        self.eval()

    def forward(self, images):
        one = self.norm1(self.first(images)).relu()
        one = self.norm2(self.twice(self.twice(one))).relu()
        two = self.third(one)
        maps = self.sum(self.norm3(two).relu() + one)
        return self.last(maps.mean((2, 3))) + (two.sum((1, 2, 3))[:, None] if self.spy else 0)


def test_normalisation_is_folded_into_the_convolution_before_it_and_nowhere_else(images):
    network = Normalised()
    before = network(images)
    assert fold_normalisation(network, images[:2]) == 2
    kinds = {name: type(layer) for name, layer in network.named_children()}
    assert kinds["norm1"] is kinds["norm3"] is nn.Identity
    assert kinds["norm2"] is nn.BatchNorm2d, "its convolution runs twice"
    assert kinds["sum"] is nn.BatchNorm2d, "it takes a sum"
    assert torch.allclose(network(images), before, atol=1e-5)
    assert not any(layer.training for layer in network.modules())


def test_the_copy_has_folded_normalisation_and_the_owners_network_has_not(images):
    classifier = made(Normalised())
    weights = {name: one.clone() for name, one in classifier.module.state_dict().items()}
    other = fast_copy(classifier)
    assert isinstance(other.module.norm1, nn.Identity)
    assert torch.allclose(other(images), classifier(images), atol=1e-5)
    assert torch.allclose(other.features(images, "norm1"), classifier.features(images, "norm1"), atol=1e-5)
    assert all(torch.equal(weights[name], one) for name, one in classifier.module.state_dict().items())
    assert (other.identity, other.fingerprint()) == (classifier.identity, classifier.fingerprint())
    with torch.no_grad():
        classifier.module.first.weight.add_(1)
    assert other.fingerprint() == classifier.fingerprint() != made(Normalised()).fingerprint()


def test_where_a_network_reads_what_a_convolution_gave_only_the_layout_is_changed(images):
    other = fast_copy(made(Normalised(spy=True)))
    assert isinstance(other.module.norm3, nn.BatchNorm2d)
    assert other.module.third.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(other(images), Normalised(spy=True)(images), atol=1e-4)


def test_a_unit_at_its_kink_is_no_other_network_and_other_gradients_are(images):
    class Tilted(Convolutions):
        share = 0.0

        def forward(self, images):
            scores = super().forward(images)
            if not self.first.weight.is_contiguous():
                tilt = images.flatten(1).mean(1, keepdim=True)
                scores = scores + self.share * (tilt - tilt.detach())
            return scores

    for share, copied in ((0.0, True), (1e-3, True), (3.0, False)):
        network = Tilted()
        network.share = share
        classifier = made(network)
        found = fast_copy(classifier)
        assert (found is not classifier) == copied, share
