from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import snellen
from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier, Normalization
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.fashion_cnn import FashionCNN
from snellen.training import TrainingPlan

ASSETS = Path(snellen.__file__).parent / "assets"
MEGABYTE = 1_000_000


def count_multiply_adds(model: nn.Module, images: Tensor) -> int:
    """Multiply-adds of all convolutions and linear layers, for one image."""
    total = 0

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += layer.weight.numel() * output.shape[2] * output.shape[3]
        elif isinstance(layer, nn.Linear):
            total += layer.weight.numel()

    handles = [layer.register_forward_hook(count) for layer in model.modules()]
    model(images[:1])
    for handle in handles:
        handle.remove()
    return total


def read_sample() -> tuple[np.ndarray, np.ndarray]:
    with zipfile.ZipFile(ASSETS / "fashion-mnist-2000.npz") as archive:
        images, labels = (
            np.lib.format.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
            for name in ("test_images", "test_labels")
        )
    return images, labels


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return Artifact.load(ASSETS / "fashion-cnn")


@pytest.fixture(scope="module")
def classifier(artifact: Artifact) -> Classifier:
    card = artifact.card
    arguments = {name: value for name, value in card.architecture.items() if name != "name"}
    model = FashionCNN(**arguments)
    model.load_state_dict(dict(artifact.tensors))
    return Classifier(
        model,
        class_names=card.class_names,
        preparation=Preprocessing(**card.preparation),
        normalization=Normalization(**{name: tuple(value) for name, value in card.normalization.items()}),
        feature_layer="pool",
    )


# -- the architecture ----------------------------------------------------------------------------------------------


def test_size_and_cost_are_as_stated() -> None:
    model = FashionCNN().eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == 234_890
    assert count_multiply_adds(model, torch.rand(1, 3, 28, 28)) == pytest.approx(9.2e6, rel=0.01)


def test_widths_and_classes_are_arguments() -> None:
    model = FashionCNN(widths=[4, 8, 6], class_count=3).eval()
    assert model(torch.rand(5, 3, 28, 28)).shape == (5, 3)
    assert model(torch.rand(2, 3, 32, 36)).shape == (2, 3)


def test_channels_get_equal_gradients() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 28, 28, requires_grad=True)
    (gradient,) = torch.autograd.grad(FashionCNN().eval()(images)[:, 3].sum(), images)
    assert gradient.abs().max() > 0
    assert torch.equal(gradient[:, 0], gradient[:, 1])
    assert torch.equal(gradient[:, 0], gradient[:, 2])


def test_every_layer_can_be_read_and_edited_by_name(classifier: Classifier) -> None:
    images = torch.rand(2, 3, 28, 28)
    shapes = {
        name: tuple(classifier.features(images, name).shape[1:]) for name in ("stem", "stage1", "stage2", "stage3")
    }
    assert shapes == {"stem": (32, 14, 14), "stage1": (32, 14, 14), "stage2": (96, 7, 7), "stage3": (128, 4, 4)}
    assert classifier.features(images).shape == (2, 256)
    with classifier.edit("pool", torch.zeros_like):
        assert torch.allclose(classifier(images)[0], classifier(images)[1])


def test_a_batch_is_its_images(classifier: Classifier) -> None:
    images = torch.rand(4, 3, 28, 28)
    alone = torch.cat([classifier(image[None]) for image in images])
    assert torch.allclose(classifier(images), alone, atol=1e-5)


# -- what ships ----------------------------------------------------------------------------------------------------


def test_the_card_says_what_it_is(artifact: Artifact) -> None:
    card = artifact.card
    assert (card.name, card.kind, card.licence) == ("fashion-cnn", "classifier", "Apache-2.0")
    assert card.architecture["name"] == "fashion_cnn"
    assert card.class_names[0] == "T-shirt/top"
    assert card.class_names[-1] == "Ankle boot"
    assert len(set(card.class_names)) == 10
    assert "28-pixel product thumbnails" in card.description
    assert card.metrics["test.accuracy"] >= 0.92
    assert card.metrics["val.accuracy"] >= 0.92


def test_the_lineage_is_enough_to_train_it_again(artifact: Artifact) -> None:
    lineage = artifact.card.lineage
    plan = TrainingPlan(**lineage.recipe["plan"])
    assert plan.seed == lineage.seed
    assert lineage.recipe["images"] == {"train": 55_000, "val": 5_000}
    assert len(lineage.data) == 64
    assert {"torch", "threads", "device"} <= set(lineage.environment)


def test_files_are_small_and_weights_are_half_precision(artifact: Artifact) -> None:
    assert (ASSETS / "fashion-cnn" / "weights.safetensors").stat().st_size < MEGABYTE
    assert (ASSETS / "fashion-mnist-2000.npz").stat().st_size < MEGABYTE
    assert {t.dtype for t in artifact.tensors.values() if t.is_floating_point()} == {torch.float16}


def test_the_sample_holds_all_classes() -> None:
    images, labels = read_sample()
    assert (images.shape, images.dtype) == ((2000, 28, 28), np.dtype(np.uint8))
    assert (labels.shape, labels.dtype) == ((2000, 1), np.dtype(np.uint8))
    assert np.bincount(labels[:, 0], minlength=10).min() > 150
    assert labels[:5, 0].tolist() == [9, 2, 1, 1, 6]  # the published order


def test_the_shipped_classifier_is_right_on_the_shipped_images(classifier: Classifier, artifact: Artifact) -> None:
    images, labels = read_sample()
    prepared = torch.stack([classifier.prepare(Image.fromarray(image)) for image in images])
    assert torch.equal(prepared[0, 0], torch.from_numpy(images[0]) / 255)  # 28 pixels need no resizing
    with torch.inference_mode():
        right = classifier(prepared).argmax(1).numpy() == labels[:, 0]
    assert right.mean() >= 0.92
    # A sample of a fifth of the test set cannot be far from the figure on the card.
    assert abs(right.mean() - artifact.card.metrics["test.accuracy"]) < 0.02


def test_colours_are_seen_where_they_are_asked_for_and_nowhere_else():
    torch.manual_seed(0)
    red, blue = torch.zeros(2, 1, 3, 8, 8)
    red[:, 0] = blue[:, 2] = 0.9
    grey, coloured = (FashionCNN(widths=(4, 4, 4), colours=colours).eval() for colours in (False, True))
    with torch.no_grad():
        assert torch.allclose(grey(red), grey(blue), atol=1e-6)
        assert not torch.allclose(coloured(red), coloured(blue), atol=1e-3)
