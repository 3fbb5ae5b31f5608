"""The linear layer of a classifier at each place of its last feature map: exact, and found without names."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.models.classifiers.fashion_cnn import FashionCNN
from snellen.systems.label_maps.localized_head import localized_head
from snellen.training.acceleration import seeded


def classifier(network: nn.Module, classes: int, side: int | None = 64) -> Classifier:
    preparation = Preprocessing() if side is None else Preprocessing(size=(side, side))
    return Classifier(
        network,
        class_names=[str(number) for number in range(classes)],
        preparation=preparation,
        normalization=Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.2)),
    )


def pointwise_head() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 5, 1), nn.Flatten()
    )  # fmt: skip


def fully_convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 5, 3, 2), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())


ANNOTATORS = {
    "timm resnet18": lambda: timm.create_model("resnet18", num_classes=5),
    "timm regnet": lambda: timm.create_model("regnetx_002", num_classes=5),
    "torchvision resnet18": lambda: torchvision.models.resnet18(num_classes=5),
    "torchvision squeezenet": lambda: torchvision.models.squeezenet1_1(num_classes=5),
    "1 x 1 convolution": pointwise_head,
    "fully convolutional": fully_convolutional,
}


@pytest.mark.covers("9.2")
@pytest.mark.parametrize("name", ANNOTATORS)
def test_the_mean_of_the_map_is_the_ordinary_score(name: str) -> None:
    with seeded(3, torch.device("cpu")):
        network = ANNOTATORS[name]()
    made = classifier(network, 5)
    head = localized_head(made)
    images = Randomness(1).bind(2).uniform("images", (3, 64, 64))
    maps, scores = head.maps_and_scores(images)
    assert maps.shape[:2] == (2, 5)
    assert tuple(maps.shape[2:]) == head.grid
    assert torch.allclose(maps.mean((2, 3)), scores, atol=1e-4 * max(1.0, float(scores.abs().max())))
    assert torch.allclose(scores, made(images), atol=1e-5)
    assert float(maps.std((2, 3)).max()) > 0


@pytest.mark.parametrize(
    ("network", "classes", "error", "match"),
    [
        (FashionCNN(), 10, UnsupportedError, "no layer gives or takes a feature map.*another pooling"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4)), 4, UnsupportedError, "ResNets of torchvision"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
            2,
            UnsupportedError,
            "spatial mean",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 4, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
            2,
            InputError,
            "one place for images of 64 x 64 pixels",
        ),
    ],
)
def test_says_what_is_needed(network: nn.Module, classes: int, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        localized_head(classifier(network, classes))


def test_needs_a_module_and_a_size() -> None:
    by_url = Classifier(lambda images: images.flatten(1)[:, :2], class_names=["a", "b"], name="by-url")
    with pytest.raises(UnsupportedError, match="by-url is no torch module"):
        localized_head(by_url)
    with pytest.raises(InputError, match="at which side"):
        localized_head(classifier(pointwise_head(), 5, side=None))
    assert localized_head(classifier(pointwise_head(), 5, side=None), size=(20, 30)).grid == (9, 14)
