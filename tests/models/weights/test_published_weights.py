"""Weights that other libraries fetch: without permission nobody is asked, and what is in a cache is used."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from snellen.core.errors import InputError
from snellen.models.classifiers.references import load_classifier
from snellen.models.weights.quiet_loading import cached_by_torch, hub_host, hub_offline, quiet_loading
from tests.models.remote.contacted_hosts import contacted_hosts

with quiet_loading():
    constants = pytest.importorskip("huggingface_hub.constants")
    timm = pytest.importorskip("timm")
    torchvision = pytest.importorskip("torchvision")

HUB, TORCH = "huggingface.co", "download.pytorch.org"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Empty caches of both libraries."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    yield tmp_path
    assert constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize(("reference", "host"), [("timm:test_resnet", HUB), ("torchvision:resnet18", TORCH)])
def test_without_permission_nobody_is_queried(reference: str, host: str) -> None:
    with contacted_hosts() as asked:
        with pytest.raises(
            InputError, match=rf"{host} is not contacted for them without permission; allow it with --allow-"
        ) as e:
            load_classifier(reference)
        assert f"--allow-remote {host} (in Python: allow_remote=['{host}']), or give a file: {reference}@FILE" in str(
            e.value
        )
        other = TORCH if host == HUB else HUB
        with pytest.raises(InputError, match="without permission"):
            load_classifier(reference, allow_remote=[other])
        assert not asked


@pytest.mark.parametrize(("reference", "host"), [("timm:test_resnet", HUB), ("torchvision:resnet18", TORCH)])
def test_with_permission_the_host_is_queried_and_no_other(
    reference: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contacted_hosts() as asked:
        monkeypatch.setattr("time.sleep", lambda _seconds: None)
        for allowed in ([host], host.upper(), True):
            with pytest.raises(InputError, match=r"nor downloaded"):
                load_classifier(reference, allow_remote=allowed)
        assert set(asked) == {host}


def test_an_address_beside_the_hub_needs_permission_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with contacted_hosts() as asked:
        config = timm.get_pretrained_cfg("test_resnet")
        elsewhere = type(config)(**{**config.__dict__, "hf_hub_id": None, "url": "https://weights.example/a/net.pth"})
        monkeypatch.setattr(timm, "get_pretrained_cfg", lambda _name: elsewhere)
        with pytest.raises(InputError, match=r"weights\.example is not contacted"):
            load_classifier("timm:test_resnet", allow_remote=[HUB])
        assert not asked


def test_a_mirror_is_the_host_that_needs_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    with contacted_hosts() as asked:
        monkeypatch.setattr(constants, "ENDPOINT", "https://Mirror.example/hf")
        assert hub_host() == "mirror.example"
        with pytest.raises(InputError, match=r"mirror\.example is not contacted"):
            load_classifier("timm:test_resnet", allow_remote=[HUB])
        assert not asked


def test_what_the_hubs_cache_has_needs_no_permission(caches: Path) -> None:
    with contacted_hosts() as asked:
        torch.manual_seed(0)
        network = timm.create_model("test_resnet", pretrained=False)
        repository = caches / "hub" / f"models--{timm.get_pretrained_cfg('test_resnet').hf_hub_id.replace('/', '--')}"
        commit = "0" * 40
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
        save_file(network.state_dict(), snapshot / "model.safetensors")
        (snapshot / "config.json").write_text(json.dumps({}))
        loaded = load_classifier("timm:test_resnet").module
        assert loaded is not None
        for key, value in network.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value), key
        assert not asked, "not even whether there is a newer one"


def test_what_torchs_cache_has_needs_no_permission(caches: Path) -> None:
    with contacted_hosts() as asked:
        url = torchvision.models.ResNet18_Weights.DEFAULT.url
        assert not cached_by_torch(url)
        file = caches / "torch" / "hub" / "checkpoints" / url.rsplit("/", 1)[1]
        file.parent.mkdir(parents=True)
        network = torchvision.models.resnet18(weights=None)
        torch.save(network.state_dict(), file)
        assert cached_by_torch(f"{url}?x=/y")
        assert len(load_classifier("torchvision:resnet18").class_names) == 1000
        assert not asked


def test_the_switch_is_put_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (True, False):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", before)
        block = hub_offline()
        block.__enter__()
        assert constants.HF_HUB_OFFLINE is True
        assert not block.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        assert constants.HF_HUB_OFFLINE is before


def test_a_folder_on_this_machine_reaches_nobody(caches: Path) -> None:
    """Its configuration names a network of the hub, which its library would ask for."""
    pytest.importorskip("transformers")
    folder = caches / "folder"
    folder.mkdir()
    shape = {
        "input_size": [3, 32, 32],
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
    }
    config = {
        "model_type": "timm_wrapper",
        "architectures": ["TimmWrapperForImageClassification"],
        "architecture": "hf-hub:someone/something",
        "num_classes": 2,
        "label_names": ["a", "b"],
        "pretrained_cfg": shape,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text("{}")
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    with contacted_hosts() as asked:
        for allowed in ([], [HUB]):
            with pytest.raises(InputError, match="cannot be loaded as an image classifier"):
                load_classifier(f"hf:{folder}", allow_remote=allowed)
    assert not asked
