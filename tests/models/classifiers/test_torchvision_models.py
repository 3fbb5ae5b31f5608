"""torchvision: the same pixels as the weights' own transform, and weights from a file or the cache."""

import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnknownNameError
from snellen.models.classifiers.references import load_classifier
from snellen.models.classifiers.torchvision_models import classifier_weight, preparation_of


def save(path: Path, name: str, **options: object) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(torchvision.models.get_model(name, weights=None, **options).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("torchvision")


@pytest.fixture(scope="module")
def mobilenet(folder: Path) -> Path:
    return save(folder / "mobilenet.safetensors", "mobilenet_v3_small")


@pytest.fixture(scope="module")
def shufflenet(folder: Path) -> Path:
    return save(folder / "shufflenet.safetensors", "shufflenet_v2_x0_5", num_classes=3)


@pytest.mark.parametrize("name", ["RegNet_Y_400MF", "EfficientNet_B1", "EfficientNet_B0", "Swin_T", "Inception_V3"])
def test_pixels_equal_the_transform_of_the_weights(photos: dict[str, Image.Image], name: str) -> None:
    """Resize and crop in turn: 232 to 224 and 255 to 240 bilinear, 256 and 232 to 224 bicubic, 342 to 299 bilinear."""
    weights = getattr(torchvision.models, f"{name}_Weights").DEFAULT
    transform = weights.transforms()
    preparation, normalization = preparation_of(weights, name=name)
    classifier = Classifier(lambda x: x, class_names=["a"], preparation=preparation, normalization=normalization)
    for label, photo in photos.items():
        theirs = transform(photo.convert("RGB"))
        ours = classifier.normalise(classifier.prepare(photo)[None])[0]
        assert torch.equal(ours, theirs), f"{label}: largest difference {float((ours - theirs).abs().max())}"


def test_the_weights_chosen_by_name_choose_the_preparation(shufflenet: Path) -> None:
    sizes = {
        member: torchvision.models.ResNet50_Weights[member].transforms().resize_size[0]
        for member in ("IMAGENET1K_V1", "IMAGENET1K_V2")
    }
    assert sizes == {"IMAGENET1K_V1": 256, "IMAGENET1K_V2": 232}
    name = "shufflenet_v2_x0_5.IMAGENET1K_V1"
    classifier = load_classifier(f"torchvision:{name}@{shufflenet}", ["a", "b", "c"])
    assert classifier.preparation.resize_to == (256, 256)


def test_what_a_file_for_imagenet_brings(mobilenet: Path, photos: dict[str, Image.Image]) -> None:
    classifier = load_classifier(f"torchvision:mobilenet_v3_small@{mobilenet}")
    assert classifier.class_names[281] == "tabby"
    assert len(classifier.class_names) == 1000
    assert [note.split(" assumed")[0] for note in classifier.notes] == ["preparation", "class names"]
    assert all("MobileNet_V3_Small_Weights.IMAGENET1K_V1" in note for note in classifier.notes)
    assert classifier.name == "torchvision:mobilenet_v3_small@mobilenet.safetensors"
    assert classifier.feature_layer is None
    network = torchvision.models.get_model("mobilenet_v3_small", weights=None).eval()
    network.load_state_dict({name: value.clone() for name, value in classifier.module.state_dict().items()})
    transform = torchvision.models.MobileNet_V3_Small_Weights.DEFAULT.transforms()
    photo = photos["landscape"]
    with torch.no_grad():
        assert torch.equal(classifier(classifier.prepare(photo)[None]), network(transform(photo)[None]))


def test_the_number_of_classes_is_read_from_the_file(shufflenet: Path) -> None:
    reference = f"torchvision:shufflenet_v2_x0_5@{shufflenet}"
    assert load_classifier(reference, ["a", "b", "c"])(torch.rand(1, 3, 224, 224)).shape == (1, 3)
    with pytest.raises(InputError, match=r"does not name its 3 outputs.*--classes"):
        load_classifier(reference)


def test_the_pooled_layer_of_a_regular_network(folder: Path) -> None:
    path = save(folder / "regnet.safetensors", "regnet_y_400mf", num_classes=2)
    classifier = load_classifier(f"torchvision:regnet_y_400mf@{path}", ["a", "b"])
    images = torch.rand(1, 3, 224, 224)
    logits = classifier.module.get_submodule("fc")(classifier.features(images).flatten(1))
    assert torch.equal(logits, classifier(images))


def test_auxiliary_heads_are_built_only_if_the_file_has_them(folder: Path) -> None:
    path = save(folder / "googlenet.safetensors", "googlenet", num_classes=2, aux_logits=False, init_weights=False)
    classifier = load_classifier(f"torchvision:googlenet@{path}", ["a", "b"])
    assert classifier.module.transform_input is True
    assert classifier.module.aux1 is None


def test_loading_says_nothing_and_leaves_the_generator_alone(
    shufflenet: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state = torch.random.get_rng_state()
    load_classifier(f"torchvision:shufflenet_v2_x0_5@{shufflenet}", ["a", "b", "c"])
    assert torch.equal(state, torch.random.get_rng_state())
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_weights_from_the_local_cache_need_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mobilenet: Path
) -> None:
    del mobilenet  # another file: the one in the cache is what counts
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    cached = tmp_path / "hub" / "checkpoints" / weights.url.rsplit("/", 1)[1]
    cached.parent.mkdir(parents=True)
    network = torchvision.models.get_model("squeezenet1_1", weights=None)
    torch.save(network.state_dict(), cached)
    classifier = load_classifier("torchvision:squeezenet1_1")
    assert classifier.name == "torchvision:squeezenet1_1"
    assert classifier.notes == ()
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(classifier(images), network.eval()(classifier.normalise(images)))


def test_code_in_a_cached_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Code:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / torchvision.models.ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1]
    cached.parent.mkdir(parents=True)
    torch.save({"fc.weight": Code()}, cached)
    with pytest.raises(InputError, match="torchvision:resnet18"):
        load_classifier("torchvision:resnet18")
    assert not (tmp_path / "ran").exists()


def test_old_names_inside_published_dense_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renamed as torchvision's own loader does; counters of batch normalisation are filled in."""

    class Small(torchvision.models.DenseNet):
        def __init__(self, num_classes: int = 1000) -> None:
            super().__init__(4, (2, 1), 8, num_classes=num_classes)

    network = Small()
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    weights = torchvision.models.DenseNet121_Weights.DEFAULT
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights, num_classes: Small(num_classes))
    cached = tmp_path / "hub" / "checkpoints" / weights.url.rsplit("/", 1)[1]
    cached.parent.mkdir(parents=True)
    torch.save(OrderedDict(old), cached)
    loaded = load_classifier("torchvision:densenet121").module
    assert loaded is not None
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_without_a_file_and_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"nor downloaded.*torchvision:resnet18@FILE\.safetensors"):
        load_classifier("torchvision:resnet18", allow_remote=["download.pytorch.org"])


def test_names_that_are_not_known(mobilenet: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'resnet18'"):
        load_classifier(f"torchvision:resnet1@{mobilenet}")
    with pytest.raises(UnknownNameError, match="unknown torchvision classifier 'fasterrcnn_resnet50_fpn'"):
        load_classifier("torchvision:fasterrcnn_resnet50_fpn")
    with pytest.raises(UnknownNameError, match=r"weights of torchvision:resnet50.*IMAGENET1K_V2"):
        load_classifier(f"torchvision:resnet50.IMAGENET@{mobilenet}")


def test_a_file_of_another_architecture(mobilenet: Path) -> None:
    with pytest.raises(InputError, match=r"mobilenet\.safetensors does not fit SqueezeNet"):
        load_classifier(f"torchvision:squeezenet1_1@{mobilenet}")


@pytest.mark.parametrize(
    "name", ["alexnet", "mobilenet_v3_small", "squeezenet1_1", "convnext_tiny", "maxvit_t", "vit_b_32", "swin_t"]
)
def test_the_last_layer_is_found_whatever_it_is_called(name: str) -> None:
    with torch.device("meta"):
        tensors = torchvision.models.get_model(name, weights=None, num_classes=7).state_dict()
    weight = classifier_weight(tensors)
    assert weight is not None
    assert weight.shape[0] == 7
    assert classifier_weight({"features.0.weight": torch.ones(7, 3)}) is None
