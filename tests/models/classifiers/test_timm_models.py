"""timm: the same pixels as timm's own evaluation transform, and weights from a file."""

from pathlib import Path

import pytest
import timm
import torch
from packaging import version
from PIL import Image
from safetensors.torch import save_file

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, UnknownNameError
from snellen.models.classifiers.references import load_classifier
from snellen.models.classifiers.timm_models import imagenet_class_names, pooled_layer, preparation_of

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny residual network: with all ImageNet classes, and with three."""
    folder = tmp_path_factory.mktemp("timm")
    paths = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, classes in (("imagenet", 1000), ("three", 3)):
            network = timm.create_model("test_resnet", num_classes=classes)
            paths[name] = folder / f"{name}.safetensors"
            save_file(network.state_dict(), paths[name])
    return paths


@pytest.mark.parametrize(
    ("size", "crop_pct", "crop_mode", "interpolation"),
    [
        ((224, 224), 0.95, "center", "bicubic"),
        ((224, 224), 0.875, "center", "bilinear"),
        ((160, 160), 1.0, "squash", "bicubic"),
        ((96, 96), 0.9, "squash", "lanczos"),
        ((128, 128), 1.0, "border", "bicubic"),
        ((128, 128), 0.94, "border", "bilinear"),
        ((96, 192), 0.9, "center", "bicubic"),
        ((192, 96), 1.0, "border", "bilinear"),
        ((160, 96), 0.875, "squash", "nearest"),
        ((97, 97), 0.9, "center", "hamming"),
        ((48, 48), 1.3, "center", "box"),
        ((48, 64), 1.3, "border", "bicubic"),
    ],
)
def test_pixels_equal_timms_evaluation_transform(
    photos: dict[str, Image.Image], size: tuple[int, int], crop_pct: float, crop_mode: str, interpolation: str
) -> None:
    config = {
        "input_size": (3, *size),
        "crop_pct": crop_pct,
        "crop_mode": crop_mode,
        "interpolation": interpolation,
        "mean": MEAN,
        "std": STD,
    }
    transform = timm.data.create_transform(**config, is_training=False)
    if size[0] != size[1] and crop_mode == "center" and version.parse(timm.__version__) < version.parse("1.0.31"):
        # These releases scale by bilinear interpolation here, whatever the configuration asks for.
        transform.transforms[0].interpolation = timm.data.transforms.str_to_interp_mode(interpolation)
    preparation, normalization = preparation_of(config, name="demo")
    classifier = Classifier(lambda x: x, class_names=["a"], preparation=preparation, normalization=normalization)
    for name, photo in photos.items():
        theirs = transform(photo.convert("RGB"))
        ours = classifier.normalise(classifier.prepare(photo)[None])[0]
        assert theirs.shape == (3, *size)
        assert torch.equal(ours, theirs), f"{name}: largest difference {float((ours - theirs).abs().max())}"


def test_a_loaded_model_prepares_and_scores_as_timm_does(
    photos: dict[str, Image.Image], saved: dict[str, Path]
) -> None:
    classifier = load_classifier(f"timm:test_resnet@{saved['imagenet']}")
    network = timm.create_model("test_resnet", checkpoint_path=str(saved["imagenet"])).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    for photo in photos.values():
        with torch.no_grad():
            theirs = network(transform(photo.convert("RGB"))[None])
        assert torch.equal(classifier(classifier.prepare(photo)[None]), theirs)


def test_what_a_file_for_imagenet_brings(saved: dict[str, Path]) -> None:
    classifier = load_classifier(f"timm:test_resnet@{saved['imagenet']}")
    assert classifier.class_names == imagenet_class_names(timm)
    assert classifier.class_names[281] == "tabby, tabby cat"
    assert "ImageNet-1k" in classifier.notes[0]
    assert classifier.name == "timm:test_resnet@imagenet.safetensors"
    assert (classifier.output, classifier.task) == ("logits", "single")
    assert classifier.feature_layer == "global_pool"
    size = classifier.preparation.size
    assert size is not None
    images = torch.rand(2, 3, *size)
    logits = classifier.module.get_submodule("fc")(classifier.features(images).flatten(1))
    assert torch.allclose(logits, classifier(images), atol=1e-6)


def test_the_number_of_classes_is_read_from_the_file(saved: dict[str, Path]) -> None:
    classifier = load_classifier(f"timm:test_resnet@{saved['three']}", ["a", "b", "c"])
    assert classifier.class_names == ("a", "b", "c")
    assert classifier(torch.rand(1, 3, 160, 160)).shape == (1, 3)
    with pytest.raises(InputError, match=r"does not name its 3 outputs.*--classes"):
        load_classifier(f"timm:test_resnet@{saved['three']}")
    with pytest.raises(InputError, match=r"3 outputs, but 2 class names came"):
        load_classifier(f"timm:test_resnet@{saved['three']}", ["a", "b"])


def test_names_that_came_with_the_weights_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    network = timm.create_model("test_resnet", num_classes=2)
    network.pretrained_cfg["label_names"] = ["left", "right"]
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: network)
    classifier = load_classifier("timm:test_resnet")
    assert classifier.class_names == ("left", "right")
    assert classifier.notes == ()


def test_a_thousand_classes_alone_do_not_make_imagenet(monkeypatch: pytest.MonkeyPatch) -> None:
    network = timm.create_model("test_resnet")
    network.pretrained_cfg["tag"] = "untrained"
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: network)
    with pytest.raises(InputError, match="does not name its 1000 outputs"):
        load_classifier("timm:test_resnet")


def test_a_model_without_a_classifier_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = timm.create_model("test_resnet", num_classes=0)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: network)
    with pytest.raises(InputError, match="no classifier"):
        load_classifier("timm:test_resnet")


def test_own_settings_replace_those_of_the_model(saved: dict[str, Path]) -> None:
    classifier = load_classifier(f"timm:test_resnet@{saved['three']}", ["a", "b", "c"], task="multilabel", name="mine")
    assert (classifier.task, classifier.name) == ("multilabel", "mine")


def test_loading_says_nothing_and_leaves_the_generator_alone(
    saved: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    state = torch.random.get_rng_state()
    load_classifier(f"timm:test_resnet@{saved['three']}", ["a", "b", "c"])
    assert torch.equal(state, torch.random.get_rng_state())
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_file_of_another_architecture(saved: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"three\.safetensors does not fit .*missing \(.*unexpected \("):
        load_classifier(f"timm:test_efficientnet@{saved['three']}", ["a", "b", "c"])


def test_a_file_without_its_classifier_needs_num_classes(saved: dict[str, Path], tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=0)
    save_file(network.state_dict(), tmp_path / "headless.safetensors")
    with pytest.raises(InputError, match=r"2 missing \(fc.weight, fc.bias\).*num_classes"):
        load_classifier(f"timm:test_resnet@{tmp_path / 'headless.safetensors'}")


def test_a_file_that_holds_nan(tmp_path: Path) -> None:
    tensors = timm.create_model("test_resnet", num_classes=3).state_dict()
    tensors["fc.bias"][1] = float("nan")
    save_file(tensors, tmp_path / "nan.safetensors")
    with pytest.raises(ModelError, match=r"'fc\.bias' holds NaN"):
        load_classifier(f"timm:test_resnet@{tmp_path / 'nan.safetensors'}", ["a", "b", "c"])


def test_unknown_names_and_tags() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown timm model 'resnet5'; did you mean 'resnet50'"):
        load_classifier("timm:resnet5@none.safetensors")
    with pytest.raises(UnknownNameError, match=r"did you mean 'resnet50\.a1_in1k'"):
        load_classifier("timm:resnet50.a1_in1@none.safetensors")
    with pytest.raises(UnknownNameError):
        load_classifier("timm:hf-hub:someone/something")


def test_without_a_file_and_without_a_network() -> None:
    with pytest.raises(InputError, match=r"nor downloaded.*timm:test_resnet@FILE\.safetensors"):
        load_classifier("timm:test_resnet", allow_remote=["huggingface.co"])


def test_a_tag_chooses_the_preparation(saved: dict[str, Path]) -> None:
    sizes = {
        tag: load_classifier(f"timm:{tag}@{saved['three']}", ["a", "b", "c"]).preparation.size
        for tag in ("test_resnet", "test_resnet.r160_in1k")
    }
    assert set(sizes.values()) == {(160, 160)}


@pytest.mark.parametrize(
    "change",
    [
        {"input_size": (1, 28, 28)},
        {"interpolation": "random"},
        {"crop_mode": "five"},
        {"mean": (0.5,)},
    ],
)
def test_configurations_that_are_not_known_are_refused(change: dict[str, object]) -> None:
    config = {"input_size": (3, 8, 8), "crop_pct": 1.0, "interpolation": "bilinear", "mean": MEAN, "std": STD}
    with pytest.raises(InputError, match="timm:demo wants"):
        preparation_of(config | change, name="demo")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("test_efficientnet", "global_pool"),
        ("test_byobnet", "head.global_pool"),
        ("test_vit", None),
        ("mobilenetv3_small_050", None),
    ],
)
def test_the_pooled_layer_is_named_only_where_the_classifier_takes_it(name: str, layer: str | None) -> None:
    with torch.device("meta"):
        assert pooled_layer(timm.create_model(name)) == layer
