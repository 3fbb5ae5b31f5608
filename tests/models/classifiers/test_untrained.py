"""Networks with initial weights, by the record that a card keeps."""

from __future__ import annotations

import pytest
import torch

from snellen.core.errors import InputError, UnknownNameError
from snellen.models.classifiers.artifact_models import architecture_of, untrained
from snellen.models.classifiers.fashion_cnn import FashionCNN
from snellen.models.classifiers.timm_models import build_untrained


@pytest.mark.parametrize(
    ("reference", "record"),
    [
        ("fashion_cnn", {"name": "fashion_cnn", "class_count": 3}),
        ("timm:resnet18", {"name": "timm", "model": "resnet18", "class_count": 3}),
    ],
)
def test_the_record_builds_a_network_of_that_many_classes(reference: str, record: dict[str, object]) -> None:
    assert architecture_of(reference, 3) == record
    network = untrained(record).eval()
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    assert record == architecture_of(reference, 3), "the record is not used up"


def test_weights_come_from_the_global_generator() -> None:
    built = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        built.append(untrained(architecture_of("fashion_cnn", 10)))
    assert isinstance(built[0], FashionCNN)
    first, same, other = (network.state_dict() for network in built)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_timm_networks_are_not_trained_and_are_the_real_class() -> None:
    network = build_untrained(model="resnet18", class_count=4)
    assert type(network).__name__ == "ResNet"
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_176_512 + 512 * 4 + 4
    assert bool((network.bn1.weight == 1).all())


@pytest.mark.parametrize("reference", ["timm:resnet81", "timm:", "timm"])
def test_models_that_timm_has_not(reference: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown timm model"):
        architecture_of(reference, 3)


def test_other_names() -> None:
    with pytest.raises(InputError, match="'torchvision:resnet18': expected fashion_cnn or timm:NAME"):
        architecture_of("torchvision:resnet18", 3)
    with pytest.raises(UnknownNameError, match="did you mean 'fashion_cnn'"):
        untrained(architecture_of("fashion_cn", 3))
    with pytest.raises(InputError, match="the recipe: fashion_cnn cannot be built from"):
        untrained({"name": "fashion_cnn", "model": "resnet18"})
