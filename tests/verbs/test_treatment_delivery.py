"""A treated classifier is written in the form that it came in, and is the same when it is loaded again."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import ModelError, UnsupportedError
from snellen.core.preprocessing import Preprocessing
from snellen.methods.treatments.score_scaling import ScaledScores, scaled
from snellen.models.classifiers.assembly import probe_images
from snellen.models.classifiers.onnx_export import export_onnx
from snellen.models.classifiers.onnx_graph.module import OnnxModule
from snellen.models.classifiers.onnx_graph.writing import with_numbers_of
from snellen.models.classifiers.references import load_classifier
from snellen.models.classifiers.trainable import PreparedNetwork, last_layer, trainable, trained_classifier
from snellen.verbs.treatment_delivery import delivered
from tests.tiny_network import NAMES

CLASSES = [f"class {number}" for number in range(7)]


def treated_by_scaling(classifier: Classifier, scale: list[float] | None = None) -> Classifier:
    """The classifier with scores multiplied and shifted, and one weight of the first layer changed."""
    network = trainable(classifier)
    with torch.no_grad():
        next(iter(network.parameters())).mul_(1.1)
    count = len(classifier.class_names)
    factors = torch.full((count,), 0.5) if scale is None else torch.tensor(scale)
    size = classifier.preparation.size
    assert size is not None
    network = scaled(network, factors, torch.linspace(-0.3, 0.3, count), probe_images(size, 4))
    return trained_classifier(classifier, network, "treated by a test")


def same(one: Classifier, other: Classifier) -> bool:
    size = one.preparation.size
    assert size is not None
    images = probe_images(size, 4)
    with torch.no_grad():
        first, second = (each.probabilities(each(images)) for each in (one, other))
    return bool(torch.allclose(first, second, atol=1e-5)) and one.class_names == other.class_names


def write(classifier: Classifier, folder: Path) -> tuple[Classifier, Classifier, str | None]:
    treated = treated_by_scaling(classifier)
    assert not same(classifier, treated)
    folder.mkdir()
    reference, _ = delivered(classifier, treated, folder, {"method": "treat"}, "data", 0)
    assert reference is not None
    return treated, load_classifier(reference), reference


def test_an_artifact_stays_one(tmp_path):
    treated, again, reference = write(load_classifier("bundled:fashion-cnn"), tmp_path / "out")
    assert reference == f"artifact:{tmp_path / 'out'}"
    assert same(treated, again)


@pytest.fixture(scope="module")
def timm_file(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("timm") / "own.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), file)
    return file


def test_weights_of_timm_stay_weights_of_timm(timm_file, tmp_path):
    classifier = load_classifier(f"timm:test_resnet@{timm_file}", CLASSES, size=48)
    treated, again, reference = write(classifier, tmp_path / "out")
    weights = tmp_path / "out" / "weights.safetensors"
    assert reference == f"checkpoint:{weights}"
    assert same(treated, again)
    assert again.preparation == classifier.preparation
    assert again.normalization == classifier.normalization
    theirs = timm.create_model("test_resnet", num_classes=7)
    theirs.load_state_dict(load_file(weights))
    direct = load_classifier(f"timm:test_resnet@{weights}", size=48)
    assert same(treated, direct), "by the reference that it came by, and the description beside it"


def test_weights_of_torchvision_stay_weights_of_torchvision(tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "own.safetensors"
    save_file(torchvision.models.mobilenet_v3_small(num_classes=7).state_dict(), file)
    classifier = load_classifier(f"torchvision:mobilenet_v3_small@{file}", CLASSES, size=48)
    treated, again, _ = write(classifier, tmp_path / "out")
    assert same(treated, again)
    torchvision.models.mobilenet_v3_small(num_classes=7).load_state_dict(
        load_file(tmp_path / "out" / "weights.safetensors")
    )


def test_an_onnx_file_stays_one(timm_file, tmp_path):
    whole = load_classifier(f"timm:test_resnet@{timm_file}", CLASSES, size=48)
    classifier = load_classifier(f"onnx:{export_onnx(whole, tmp_path / 'came.onnx')}")
    treated, again, reference = write(classifier, tmp_path / "out")
    assert reference == f"onnx:{tmp_path / 'out' / 'model.onnx'}"
    assert same(treated, again)
    assert [file.suffix for file in (tmp_path / "out").iterdir()].count(".safetensors") == 0


class Placed(nn.Module):
    """A token for each image, as transformers have it: an export computes its shape from the images."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm = nn.Conv2d(3, 6, 4, 4), nn.BatchNorm2d(6)
        self.token, self.head = nn.Parameter(torch.randn(1, 1, 6)), nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, 16, 16) → (n, 3)."""
        seen = self.norm(self.body(images)).flatten(2).transpose(1, 2)
        return self.head(torch.cat([self.token.expand(images.shape[0], -1, -1), seen], 1).amax(1))


def test_an_onnx_file_keeps_its_graph_where_torch_could_not_export_it_again(tmp_path):
    onnx = pytest.importorskip("onnx")
    torch.manual_seed(0)
    whole = Classifier(Placed().eval(), class_names=NAMES, preparation=Preprocessing(size=(16, 16)))
    classifier = load_classifier(f"onnx:{export_onnx(whole, tmp_path / 'came.onnx')}")
    treated, again, reference = write(classifier, tmp_path / "out")
    assert reference == f"onnx:{tmp_path / 'out' / 'model.onnx'}"
    assert same(treated, again)
    one, other = (onnx.load(file).graph for file in (tmp_path / "came.onnx", tmp_path / "out" / "model.onnx"))
    assert [node.op_type for node in one.node] == [node.op_type for node in other.node]
    assert (one.input, one.output) == (other.input, other.output)


def test_a_file_that_is_another_one_by_now_is_not_written_into(tmp_path):
    torch.manual_seed(0)
    whole = Classifier(Placed().eval(), class_names=NAMES, preparation=Preprocessing(size=(16, 16)))
    classifier = load_classifier(f"onnx:{export_onnx(whole, tmp_path / 'came.onnx')}")
    other = Classifier(Chosen().eval(), class_names=NAMES, preparation=Preprocessing(size=(16, 16)))
    content = export_onnx(other, tmp_path / "other.onnx").read_bytes()
    assert isinstance(classifier.module, OnnxModule)
    with pytest.raises(UnsupportedError, match="it is not the one that was loaded"):
        with_numbers_of(classifier.module, content, tmp_path)


@pytest.fixture(scope="module")
def transformers_folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(NAMES)),
        label2id={name: number for number, name in enumerate(NAMES)},
    )
    came = tmp_path_factory.mktemp("transformers") / "came"
    transformers.ViTForImageClassification(config).save_pretrained(came)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(came)
    return came


@pytest.mark.parametrize("names", [None, ["one", "two", "three"]], ids=["its own names", "other names"])
def test_a_folder_of_transformers_stays_one(transformers_folder, tmp_path, names):
    classifier = load_classifier(f"hf:{transformers_folder}", names)
    treated, again, reference = write(classifier, tmp_path / "out")
    assert reference == f"hf:{tmp_path / 'out' / 'model'}"
    assert same(treated, again)
    assert (tmp_path / "out" / "model" / "config.json").is_file()


def test_what_was_said_beside_an_artifact_stands_in_its_card(tmp_path):
    other = Preprocessing(size=(28, 28), resize="exact", resize_to=(28, 28), interpolation="bicubic")
    classifier = load_classifier("bundled:fashion-cnn", [f"garment {row}" for row in range(10)], preparation=other)
    treated, again, _ = write(classifier, tmp_path / "out")
    assert again.preparation == other
    assert same(treated, again)


def test_references_are_paths_of_the_folder_where_they_were_used(timm_file, transformers_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(timm_file.parent)
    weights = load_classifier(f"timm:test_resnet@{timm_file.name}", CLASSES, size=48)
    monkeypatch.chdir(transformers_folder.parent)
    folder = load_classifier("hf:came")
    artifact = load_classifier("bundled:fashion-cnn")
    delivered(artifact, treated_by_scaling(artifact), _made(tmp_path / "first"), {"method": "treat"}, "data", 0)
    monkeypatch.chdir(tmp_path)
    own = load_classifier("first")
    monkeypatch.chdir("/")
    for number, (classifier, kind) in enumerate(((weights, "checkpoint:"), (folder, "hf:"), (own, "artifact:"))):
        treated, again, reference = write(classifier, tmp_path / str(number))
        assert reference.startswith(kind)
        assert same(treated, again)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


class Chosen(nn.Module):
    """A module of the caller's own, without bias in its last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(16, 3, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) → (n, 3)."""
        return self.head(self.body(images))


def test_a_module_gets_weights_that_it_can_load_and_an_onnx_file(tmp_path):
    torch.manual_seed(0)
    own = nn.Sequential(Chosen().body, nn.Linear(16, 3))
    classifier = load_classifier(own, NAMES, preparation=Preprocessing(size=(16, 16)))
    treated, again, reference = write(classifier, tmp_path / "out")
    assert reference == f"onnx:{tmp_path / 'out' / 'model.onnx'}"
    assert same(treated, again)
    own.load_state_dict(load_file(tmp_path / "out" / "weights.safetensors"))
    assert same(treated, load_classifier(own, NAMES, preparation=Preprocessing(size=(16, 16))))


def test_scales_go_into_the_last_layer_also_of_one_without_bias_and_of_log_probabilities():
    torch.manual_seed(0)
    images = probe_images((16, 16), 4)
    for module in (Chosen(), nn.Sequential(Chosen(), nn.LogSoftmax(1))):
        network = PreparedNetwork(module.eval(), (0.0,) * 3, (1.0,) * 3)
        with torch.no_grad():
            before = network(images)
            scaled(network, torch.full((3,), 0.25), torch.zeros(3), images)
            after = network(images)
        assert torch.allclose(after.softmax(1), (0.25 * before).softmax(1), atol=1e-6)
        assert not any(isinstance(one, ScaledScores) for one in network.modules())
        assert last_layer(network, images) is not None


def test_what_a_layer_cannot_hold_stands_behind_the_network():
    torch.manual_seed(0)
    images = probe_images((16, 16), 4)
    network = PreparedNetwork(nn.Sequential(Chosen(), nn.LogSoftmax(1)).eval(), (0.0,) * 3, (1.0,) * 3)
    scale = torch.tensor([0.5, 1.0, 2.0])
    with torch.no_grad():
        before = network(images)
        scaled(network, scale, torch.zeros(3), images)
        assert torch.allclose(network(images), scale * before, atol=1e-6)
    assert isinstance(network.network, ScaledScores)


def test_files_that_give_other_scores_are_not_called_delivered(tmp_path, monkeypatch):
    classifier = load_classifier("bundled:fashion-cnn")
    treated = treated_by_scaling(classifier)
    monkeypatch.setattr("snellen.verbs.treatment_delivery.load_classifier", lambda *_, **__: classifier)
    with pytest.raises(ModelError, match="gives other probabilities"):
        delivered(classifier, treated, tmp_path, {}, "data", 0)
