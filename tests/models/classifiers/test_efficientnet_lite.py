"""EfficientNet-Lite: right on photographs, and refused when a byte differs."""

import dataclasses
import importlib
import sys
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, MissingExtraError, UnknownNameError
from snellen.models.classifiers import efficientnet_lite
from snellen.models.classifiers.efficientnet_lite import VARIANTS, read_converted, read_package_file, renamed
from snellen.models.classifiers.references import load_classifier
from snellen.models.classifiers.timm_models import preparation_of

LITE0 = VARIANTS["efficientnet-lite0"]
CATS = {"tabby, tabby cat", "tiger cat", "Egyptian cat", "Persian cat", "Siamese cat, Siamese"}


def package_file(name: str = "efficientnet-lite0") -> Path:
    package = pytest.importorskip(VARIANTS[name].package)
    return Path(package.__file__).parent / "models" / VARIANTS[name].file


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def lite0(cache: Path) -> Classifier:
    pytest.importorskip(LITE0.package)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNELLEN_CACHE", str(cache))
        return load_classifier("bundled:efficientnet-lite0")


def test_photographs_are_recognised(lite0: Classifier, photos: dict[str, Image.Image]) -> None:
    def best(name: str, count: int) -> list[str]:
        scores = lite0(lite0.prepare(photos[name])[None])
        return [lite0.class_names[int(index)] for index in scores[0].topk(count).indices]

    assert best("landscape", 1)[0] in CATS
    assert set(best("landscape", 3)) <= CATS
    assert best("grey", 1) == ["tripod"]
    coffee = best("odd", 5)
    assert {"espresso", "cup"} & set(coffee), coffee


def test_the_weights_need_their_own_normalisation(lite0: Classifier) -> None:
    bytes_ = torch.arange(256.0)
    images = (bytes_ / 255).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    expected = ((bytes_ - 127) / 128).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.allclose(lite0.normalise(images), expected, atol=1e-6)


def test_what_it_brings(lite0: Classifier) -> None:
    assert lite0.name == "bundled:efficientnet-lite0"
    assert len(lite0.class_names) == 1000
    assert (lite0.output, lite0.task, lite0.notes) == ("logits", "single", ())
    images = torch.rand(1, 3, 224, 224)
    assert lite0.feature_layer == "global_pool"
    logits = lite0.module.get_submodule("classifier")(lite0.features(images).flatten(1))
    assert torch.allclose(logits, lite0(images), atol=1e-5)


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_resize_and_crop_are_those_of_timms_configuration(name: str) -> None:
    config = timm.data.resolve_data_config(
        pretrained_cfg=timm.get_pretrained_cfg(f"tf_{name.replace('-', '_')}").to_dict()
    )
    preparation, _ = preparation_of(config, name=name)
    variant = VARIANTS[name]
    assert preparation.size == (variant.size,) * 2
    assert preparation.resize_to == (variant.resize_to,) * 2
    assert (preparation.resize, preparation.interpolation) == ("shorter", "bicubic")


def test_the_second_load_reads_the_converted_file_alone(
    lite0: Classifier, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNELLEN_CACHE", str(cache))
    monkeypatch.setattr(efficientnet_lite, "read_package_file", None)
    monkeypatch.setattr(torch, "load", None)
    assert load_classifier("bundled:efficientnet-lite0").identity == lite0.identity
    assert [path.name for path in (cache / "models").iterdir()] == ["efficientnet-lite0-57934424.safetensors"]


def test_a_changed_cache_is_refused(
    lite0: Classifier, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del lite0  # it filled the cache
    name = "efficientnet-lite0-57934424.safetensors"
    tensors = load_file(cache / "models" / name)
    tensors["classifier.bias"][281] += 1e-3
    (tmp_path / "models").mkdir()
    save_file(tensors, tmp_path / "models" / name)
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"not the recorded ac73d8caead58bef….*delete it and load again"):
        load_classifier("bundled:efficientnet-lite0")
    (tmp_path / "models" / name).write_bytes(b"cut")
    with pytest.raises(InputError, match="damaged"):
        load_classifier("bundled:efficientnet-lite0")


def test_a_changed_package_is_refused_before_anything_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(package_file().read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "changed.pth").write_bytes(content)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(InputError, match=r"is not the recorded 579344248a93e230…; the file is not read"):
        read_package_file(tmp_path / "changed.pth", LITE0.file_sha256)


def test_a_wrong_conversion_is_never_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_file()
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path))
    monkeypatch.setitem(VARIANTS, "efficientnet-lite0", dataclasses.replace(LITE0, tensors_sha256="0" * 64))
    with pytest.raises(InputError, match="not the recorded 0000"):
        load_classifier("bundled:efficientnet-lite0")
    assert list(tmp_path.rglob("*.safetensors")) == []


@pytest.mark.parametrize("name", ["efficientnet-lite1", "efficientnet-lite2"])
def test_the_recorded_hashes_of_the_other_variants(name: str) -> None:
    variant = VARIANTS[name]
    with torch.device("meta"):
        expected = timm.create_model(f"tf_{name.replace('-', '_')}").state_dict()
    counters = {
        key: torch.zeros_like(value, device="cpu") for key, value in expected.items() if key.endswith("tracked")
    }
    tensors = renamed(read_package_file(package_file(name), variant.file_sha256), expected) | counters
    content = importlib.import_module("safetensors.torch").save(tensors)
    assert len(read_converted(content, variant.tensors_sha256, source=Path("memory"))) == len(expected)


def test_an_architecture_that_changed_is_refused() -> None:
    with pytest.raises(InputError, match="do not fit"):
        renamed({"a": torch.ones(2)}, {"b": torch.ones(3)})
    with pytest.raises(InputError, match="do not fit"):
        renamed({"a": torch.ones(2)}, {"b": torch.ones(2), "c": torch.ones(2)})


def test_a_missing_package_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, LITE0.package, None)
    with pytest.raises(MissingExtraError, match=r"snellen\[imagenet\]"):
        load_classifier("bundled:efficientnet-lite0")


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_file()
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set SNELLEN_CACHE"):
        load_classifier("bundled:efficientnet-lite0")


def test_unknown_bundled_names() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*'efficientnet-lite0'"):
        load_classifier("bundled:efficientnet-lite")
