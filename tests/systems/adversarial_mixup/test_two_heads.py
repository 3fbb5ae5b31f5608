"""A second head on the same features, and the maps of a named layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snellen.core.errors import InputError, UnknownNameError
from snellen.models.classifiers.artifact_models import architecture_of, untrained
from snellen.models.classifiers.fashion_cnn import FashionCNN
from snellen.systems.adversarial_mixup.two_heads import TwoHeads, middle_layer


class Turned(nn.Module):
    """A network whose maps have their channels last, and which says so."""

    output_fmt = "NHWC"

    def __init__(self) -> None:
        super().__init__()
        self.stage, self.head = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.stage(images.permute(0, 2, 3, 1)).mean((1, 2)))
        return scores


def test_one_pass_gives_both_heads_and_the_maps() -> None:
    network = FashionCNN(class_count=3).eval()
    both = TwoHeads(network, "stage2").eval().requires_grad_(False)
    images = torch.rand(4, 3, 28, 28)
    scores = both(images)
    assert torch.equal(scores.plain, network(images))
    assert torch.allclose(scores.mixed, both.mixed_head(network.pool(network.stage3(scores.maps))), atol=1e-6)
    assert not torch.allclose(scores.plain, scores.mixed), "weights of its own"
    assert both.channels(images) == 96
    assert set(both.network.state_dict()) == set(FashionCNN().state_dict()), "what is deployed is the network itself"


def test_maps_with_channels_last_are_turned() -> None:
    both = TwoHeads(Turned(), "stage").requires_grad_(False)
    images = torch.rand(2, 3, 7, 6)
    assert torch.equal(both(images).maps, both.network.stage(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))  # type: ignore[operator]
    assert both.channels(images) == 5
    assert both.training, "the mode stays"


def test_the_middle_layer_of_known_networks() -> None:
    assert middle_layer(FashionCNN()) == "stage2"
    assert middle_layer(untrained(architecture_of("timm:resnet10t", 2))) == "layer3"


def test_refusals() -> None:
    with pytest.raises(InputError, match="Conv2d has no linear layer"):
        TwoHeads(nn.Conv2d(3, 4, 3), "")
    with pytest.raises(UnknownNameError, match="stage9"):
        TwoHeads(FashionCNN(), "stage9")(torch.rand(1, 3, 28, 28))
    with pytest.raises(InputError, match=r"'pool' gives \(1, 256\); .* name another feature_layer"):
        TwoHeads(FashionCNN(), "pool").channels(torch.rand(1, 3, 28, 28))
    with pytest.raises(InputError, match=r"Turned does not tell its stages; .* feature_layer"):
        middle_layer(Turned())
