"""Networks laid out with channels last: the same decisions, the owner's network as it was, none that would break."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snellen import load_classifier
from snellen.core.channels_last import in_channels_last
from snellen.core.classifier import Classifier
from snellen.core.preparation import Preparation

SIZE = Preparation(size=(12, 12))


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
    other = in_channels_last(classifier)
    assert other.module.second.weight.is_contiguous(memory_format=torch.channels_last)
    assert classifier.module.second.weight.is_contiguous()
    assert other.fingerprint() == classifier.fingerprint()
    with classifier.counting() as spent:
        assert torch.allclose(other(images), classifier(images), atol=1e-5)
        assert spent().queries == 32, "what the copy spends counts for the classifier"
    assert in_channels_last(classifier).spent == classifier.spent.__class__(), "trying costs nobody anything"


def test_the_bundled_classifier_decides_the_same():
    classifier = load_classifier("bundled:fashion-cnn")
    other = in_channels_last(classifier)
    assert other is not classifier
    images = torch.rand(64, 3, 28, 28, generator=torch.Generator().manual_seed(2))
    assert torch.equal(other(images).argmax(1), classifier(images).argmax(1))


@pytest.mark.parametrize(
    "kept",
    [
        made(Convolutions(viewed=True)),  # cannot be viewed in the other layout
        made(nn.Sequential(nn.Conv2d(3, 4, 12), nn.Flatten())),  # one convolution gains nothing
        made(Convolutions(), preparation=Preparation()),  # of no known size
        Classifier(lambda batch: batch.mean((2, 3)), class_names="abc", preparation=SIZE),
    ],
    ids=["viewed", "one convolution", "any size", "callable"],
)
def test_others_are_left_alone(kept):
    assert in_channels_last(kept) is kept


def test_a_network_with_hooks_or_other_results_is_left_alone():
    hooked = made(Convolutions())
    hooked.module.first.register_forward_hook(lambda _layer, _inputs, output: output)
    assert in_channels_last(hooked) is hooked

    class Layouts(Convolutions):
        def forward(self, images):
            found = self.first(images)
            return super().forward(images) + float(found.is_contiguous())

    other = made(Layouts())
    assert in_channels_last(other) is other
