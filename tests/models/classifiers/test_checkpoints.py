"""Weights with an architecture: files of torch, arguments, and descriptions beside them."""

import json
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError, ModelError
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.artifact_models import build_network
from snellen.models.classifiers.references import load_classifier, load_classifier_again
from snellen.models.classifiers.timm_models import build_untrained
from snellen.models.weights import checkpoint_file
from snellen.models.weights.checkpoint_file import read_checkpoint

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return build_untrained(model="test_resnet", class_count=3).eval()


def images(side: int = 64) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", ["plain", "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "model."])
def test_a_file_of_torch_is_found_out(tmp_path: Path, network: nn.Module, form: str, prefix: str) -> None:
    weights = OrderedDict((prefix + name, value) for name, value in network.state_dict().items())
    held = weights if form == "plain" else {form: weights, "epoch": 3, "optimizer": {"lr": 0.1}}
    torch.save(held, tmp_path / "last.pth")
    classifier = load_classifier(f"timm:test_resnet@{tmp_path / 'last.pth'}", NAMES)
    assert torch.equal(classifier(images()), network(classifier.normalise(images())))
    told = " ".join(classifier.notes)
    assert ("weights are those under" in told) == (form != "plain")
    assert ("which is left out" in told) == bool(prefix)


class Runs:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


def test_files_that_are_no_weights(
    tmp_path: Path, network: nn.Module, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "bad.pth"

    def refused(message: str, error: type[Exception] = InputError) -> None:
        with pytest.raises(error, match=message):
            read_checkpoint(path)

    refused("no weight file")
    torch.save({"state_dict": network.state_dict(), "hook": Runs()}, path)
    refused(r"without running code \(weights_only=True\)")
    torch.save(network, path)
    refused("Save the state dict alone, best as safetensors")
    path.write_bytes(b"no archive at all")
    refused("is not a file of weights")
    torch.save([torch.zeros(2)], path)
    refused("holds a list; expected a state dict")
    torch.save({"weight": torch.zeros(2), "epoch": 3}, path)
    refused("holds no state dict.*found epoch")
    torch.save({}, path)
    refused("found nothing")
    torch.save({"weight": torch.tensor([float("inf")])}, path)
    refused("tensor 'weight' holds NaN or infinity", ModelError)
    torch.save({"weight": torch.zeros(1000)}, path)
    monkeypatch.setattr(checkpoint_file, "MAX_BYTES", 1000)
    refused("too large for a checkpoint")
    monkeypatch.undo()
    packed = tmp_path / "packed.pth"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as small:
        for entry in whole.namelist():
            small.writestr(entry, whole.read(entry))
    path = packed
    refused("packed or larger inside than outside")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(1).expand(2 * 10**4, 10**4), r"of shape \(20000, 10000\) repeats what is stored of it, 4 bytes"),
        (torch.zeros(8).as_strided((5, 4), (1, 1)), "repeats what is stored"),
        (torch.zeros(1, dtype=torch.int64).expand(2), "repeats what is stored"),
        (torch.zeros(4, 4).to_sparse(), "is sparse"),
        (torch.zeros(10**6, 10**6, device="meta"), "without numbers"),
    ],
)
def test_tensors_that_are_larger_than_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensor: Tensor, message: str
) -> None:
    looked: list[int] = []
    monkeypatch.setattr(torch, "isfinite", lambda values: looked.append(values.numel()) or values == values)
    torch.save({"fits": torch.zeros(3, 5)[:, 1:], "weight": tensor}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=message):
        read_checkpoint(tmp_path / "w.pth")
    assert looked == [12]  # the good one alone


@pytest.mark.timeout(60)
def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(InputError, match="holds no tensors"):
        load_classifier(f"timm:test_resnet@{tmp_path / 'empty.safetensors'}", NAMES)


def test_classes_are_counted_or_said(tmp_path: Path, network: nn.Module) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), file)
    assert load_classifier(f"timm:test_resnet@{file}", NAMES).class_names == tuple(NAMES)
    said = load_classifier(f"timm:test_resnet@{file}", NAMES, model_args={"num_classes": 3, "drop_rate": 0.5})
    assert torch.equal(said(images()), network(said.normalise(images())))
    with pytest.raises(InputError, match="--model-args num_classes=10"):
        load_classifier(f"timm:test_resnet@{file}", NAMES, model_args={"num_classes": 4})
    with pytest.raises(InputError, match=r"cannot be built with \{.*'widht': 2\} \(--model-args\)"):
        load_classifier(f"timm:test_resnet@{file}", NAMES, model_args={"widht": 2})
    with pytest.raises(InputError, match="num_classes is for weights of a file"):
        load_classifier("timm:test_resnet", NAMES, model_args={"num_classes": 3})
    with pytest.raises(InputError, match="takes no arguments of its architecture"):
        load_classifier("bundled:fashion-cnn", model_args={"class_count": 3})
    with pytest.raises(InputError, match="a model in memory is built already"):
        load_classifier(network, NAMES, model_args={"num_classes": 3})


def test_torchvision_takes_arguments(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    narrow = torchvision.models.get_model("squeezenet1_1", num_classes=3).eval()
    torch.save({"model": narrow.state_dict()}, tmp_path / "w.pt")
    reference = f"torchvision:squeezenet1_1@{tmp_path / 'w.pt'}"
    with pytest.raises(InputError, match="--model-args"):
        load_classifier(reference, NAMES, model_args={"num_classes": 5})
    classifier = load_classifier(reference, NAMES, model_args={"num_classes": 3}, size=64)
    assert torch.equal(classifier(images()), narrow(classifier.normalise(images())))
    with pytest.raises(InputError, match="cannot be built with"):
        load_classifier(reference, NAMES, model_args={"num_classes": 3, "widht": 2})


def test_another_size_keeps_the_crop(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_untrained(model="test_vit", class_count=3)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    reference = f"timm:test_vit@{tmp_path / 'w.safetensors'}"
    own = load_classifier(reference, NAMES).preparation
    assert own.size is not None
    assert own.resize_to is not None
    half = load_classifier(reference, NAMES, size=(own.size[0], own.size[1])).preparation
    assert half == own
    resnet = tmp_path / "r.safetensors"
    save_file(build_untrained(model="test_resnet", class_count=3).state_dict(), resnet)
    wide = load_classifier(f"timm:test_resnet@{resnet}", NAMES, size=(96, 64)).preparation
    assert (wide.size, wide.resize_to) == ((96, 64), (round(96 / 0.95), round(64 / 0.95)))
    with pytest.raises(InputError, match="size and preparation both say"):
        load_classifier(f"timm:test_resnet@{resnet}", NAMES, size=64, preparation=own)
    with pytest.raises(InputError, match="size is a positive number of pixels"):
        load_classifier(f"timm:test_resnet@{resnet}", NAMES, size=(64, 0))


def test_an_architecture_is_built_for_its_size(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("test_vit", num_classes=3, img_size=96)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    classifier = load_classifier(f"timm:test_vit@{tmp_path / 'w.safetensors'}", NAMES, model_args={"img_size": 96})
    assert classifier.preparation.size == (96, 96)


def test_a_description_beside_weights(tmp_path: Path, network: nn.Module) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), file)
    described = tmp_path / "weights.safetensors.toml"
    described.write_text(
        'architecture = "timm:test_resnet"\nclass_names = ["x", "y", "z"]\n'
        "[arguments]\nnum_classes = 3\n"
        '[preparation]\nsize = [48, 48]\nresize = "exact"\nresize_to = [48, 48]\n'
        "[normalization]\nmean = [0.1, 0.2, 0.3]\nstd = [0.5, 0.5, 0.5]\n"
    )
    for reference in (str(file), f"checkpoint:{file}", f"timm:test_resnet@{file}"):
        classifier = load_classifier(reference)
        assert classifier.class_names == ("x", "y", "z")
        assert classifier.preparation == Preprocessing(size=(48, 48), resize="exact", resize_to=(48, 48))
        assert classifier.normalization == Normalization((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
        assert torch.equal(classifier(images(48)), network(classifier.normalise(images(48))))
        assert classifier.notes == ()
    with pytest.raises(InputError, match="num_classes"):
        load_classifier(str(file), model_args={"num_classes": 4})  # what is said wins over the description
    described.write_text('architecture = "timm:test_resnett"\n')
    with pytest.raises(InputError, match="test_resnet"):
        load_classifier(str(file), NAMES)
    described.write_text('architecture = "resnet"\n')
    with pytest.raises(InputError, match="unknown architecture 'resnet'"):
        load_classifier(str(file), NAMES)
    described.unlink()
    with pytest.raises(InputError, match=r"in weights.safetensors.toml: architecture = "):
        load_classifier(str(file), NAMES)
    named = load_classifier(str(file), NAMES, model_args={"architecture": "timm:test_resnet"})
    assert torch.equal(named(images()), network(named.normalise(images())))


HOSTILE = {
    "checkpoint_path": "evil",
    "pretrained": True,
    "pretrained_cfg_overlay": {"num_classes": 3},
    "cache_dir": "there",
    "features_only": True,
    "scriptable": True,
    "weights": "DEFAULT",
    "global_pool": "/tmp/evil.pth",
    "act_layer": "evil.pth",
    "norm_layer": "https://example.org/x",
    "block": [{"inside": ["hf-hub:x"]}],
    "deep": [[[[[[[[[[]]]]]]]]]],
}


@pytest.mark.parametrize("key", HOSTILE)
@pytest.mark.parametrize("architecture", ["timm:test_resnet", "torchvision:squeezenet1_1", "fashion_cnn"])
def test_a_description_chooses_no_further_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: nn.Module, architecture: str, key: str
) -> None:
    timm, torchvision = pytest.importorskip("timm"), pytest.importorskip("torchvision")
    called: list[object] = []
    monkeypatch.setattr(timm, "create_model", lambda *given, **_: called.append(given))
    monkeypatch.setattr(torchvision.models, "get_model", lambda *given, **_: called.append(given))
    file = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), file)
    record = {"architecture": architecture, "arguments": {key: HOSTILE[key]}}
    (tmp_path / "weights.safetensors.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"argument {key}=.* are numbers and words"):
        load_classifier(str(file), NAMES)
    if ":" in architecture:
        with pytest.raises(InputError, match=f"argument {key}=.* are numbers and words"):
            load_classifier(architecture, NAMES, model_args={key: HOSTILE[key]})
    assert called == []


def test_a_checkpoint_path_runs_no_pickle(tmp_path: Path, network: nn.Module, capsys: pytest.CaptureFixture) -> None:
    file, evil = tmp_path / "weights.safetensors", tmp_path / "evil.pth"
    save_file(network.state_dict(), file)
    torch.save(Runs(), evil)
    described = tmp_path / "weights.safetensors.toml"
    described.write_text(f'architecture = "timm:test_resnet"\n[arguments]\ncheckpoint_path = "{evil}"\n')
    with pytest.raises(InputError, match="checkpoint_path does not belong to the network itself"):
        load_classifier(str(file), NAMES)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "architecture", ["timm:test_resnet@other", "timm:hf-hub:x/y", "timm:local-dir:/tmp", "torchvision:https://x/y"]
)
def test_an_architecture_is_no_path(tmp_path: Path, network: nn.Module, architecture: str) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), file)
    (tmp_path / "weights.safetensors.toml").write_text(f'architecture = "{architecture}"\n')
    with pytest.raises(InputError, match="is a path or an address; expected timm:NAME alone"):
        load_classifier(str(file), NAMES)


@pytest.mark.parametrize("value", ["nonsense", [1, 2]])
def test_values_that_build_no_network(tmp_path: Path, network: nn.Module, value: object) -> None:
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    for architecture in ("timm:test_resnet", "torchvision:squeezenet1_1"):
        reference = f"{architecture}@{tmp_path / 'w.safetensors'}"
        with pytest.raises(InputError, match=r"cannot be built with .* \(--model-args\)"):
            load_classifier(reference, NAMES, model_args={"num_classes": value})


def test_architectures_of_snellen(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        small = build_network({"name": "fashion_cnn", "class_count": 3, "widths": [4, 8, 8]}, "here").eval()
    torch.save({"state_dict": small.state_dict()}, tmp_path / "w.pth")
    given = {"architecture": "fashion_cnn", "widths": [4, 8, 8]}
    classifier = load_classifier(tmp_path / "w.pth", NAMES, model_args=given, size=28)
    assert torch.equal(classifier(images(28)), small(images(28)))
    assert classifier.feature_layer == "pool"
    with pytest.raises(InputError, match=r"give --size, or a preparation in w\.pth\.toml"):
        load_classifier(tmp_path / "w.pth", NAMES, model_args=given)
    with pytest.raises(InputError, match=r"\(--model-args\).*cannot be built"):
        load_classifier(tmp_path / "w.pth", NAMES, model_args={**given, "depth": 3}, size=28)


def test_workers_load_it_alike(tmp_path: Path, network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(network.state_dict(), "w.pth")
    options = {"model_args": {"num_classes": 3, "drop_rate": 0.1}, "size": (64, 48)}
    classifier = load_classifier("timm:test_resnet@w.pth", NAMES, **options)  # type: ignore[arg-type]
    monkeypatch.chdir("/")
    assert classifier.reference is not None
    again = load_classifier_again(classifier.reference)
    assert again.fingerprint() == classifier.fingerprint()
    assert again.preparation.size == (64, 48)


def test_an_archive_of_torch_export_is_refused(tmp_path: Path, network: nn.Module) -> None:
    (tmp_path / "model.pt2").write_bytes(b"")
    with pytest.raises(InputError, match=r"torch\.export\.load unpickles parts of it.*export the model as ONNX"):
        load_classifier(tmp_path / "model.pt2", NAMES)
