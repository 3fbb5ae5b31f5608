"""Artifacts: weights and card become a classifier."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snellen.core import index, package
from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.references import load_classifier


class Tiny(nn.Module):
    """Mean of each channel, then a linear layer."""

    def __init__(self, *, outputs: int = 2, softmax: bool = False) -> None:
        super().__init__()
        self.softmax = softmax
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(3, outputs)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.head(self.pool(images).flatten(1))
        return logits.softmax(1) if self.softmax else logits


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = index.ArchitectureEntry(name="tiny", target=f"{__name__}:Tiny", feature_layer="pool")
    known = {**index.architectures(), "tiny": tiny}
    monkeypatch.setattr(index, "architectures", lambda: known)


def save(folder: Path, **changes: object) -> Artifact:
    fields: dict[str, object] = {
        "name": "tiny",
        "kind": "classifier",
        "architecture": {"name": "tiny", "outputs": 3},
        "class_names": ("a", "b", "c"),
        "preparation": Preprocessing(size=(4, 4), resize="exact", resize_to=(4, 4)).model_dump(mode="json"),
        "normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "lineage": Lineage(recipe={"method": "none"}, data="-", seed=0, code_version="0"),
    }
    return Artifact(Tiny(outputs=3).half().state_dict(), Card(**(fields | changes))).save(folder)


def test_an_artifact_becomes_a_classifier(tmp_path: Path) -> None:
    artifact = save(tmp_path / "tiny")
    classifier = load_classifier(f"artifact:{tmp_path / 'tiny'}")
    assert (classifier.name, classifier.class_names) == ("artifact:tiny", ("a", "b", "c"))
    assert classifier.identity == artifact.card.sha256
    assert classifier.feature_layer == "pool"
    assert classifier.preparation == Preprocessing(size=(4, 4), resize="exact", resize_to=(4, 4))
    images = torch.rand(2, 3, 4, 4)
    weight, bias = (artifact.tensors[f"head.{name}"].float() for name in ("weight", "bias"))
    expected = ((images - 0.5) / 0.25).mean((2, 3)) @ weight.T + bias
    assert torch.allclose(classifier(images), expected, atol=1e-5)


def test_layers_of_a_model_that_returns_probabilities_can_still_be_read(tmp_path: Path) -> None:
    save(tmp_path, architecture={"name": "tiny", "outputs": 3, "softmax": True})
    classifier = load_classifier(f"artifact:{tmp_path}")
    images = torch.rand(2, 3, 4, 4)
    features = classifier.features(images)
    assert torch.allclose(features.flatten(1), ((images - 0.5) / 0.25).mean((2, 3)), atol=1e-5)
    head = classifier.module.get_submodule("model.head")
    assert torch.allclose(classifier(images), head(features.flatten(1)).log_softmax(1), atol=1e-5)


def test_the_crop_of_the_card_is_kept(tmp_path: Path) -> None:
    save(tmp_path, preparation=Preprocessing(size=(4, 4), crop_start="floor").model_dump(mode="json"))
    assert load_classifier(f"artifact:{tmp_path}").preparation.crop_start == "floor"


def test_a_name_under_bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "fashion-cnn")
    monkeypatch.setattr(package, "asset_folders", lambda: [tmp_path])
    assert load_classifier("bundled:fashion-cnn").name == "bundled:fashion-cnn"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "denoiser"}, "holds a denoiser, not a classifier"),
        ({"architecture": {"name": "tiny", "depth": 3}}, "tiny cannot be built from"),
        ({"architecture": {"name": "tiny", "outputs": 5}}, r"head\.weight \(3, 3\) instead of \(5, 3\)"),
        ({"class_names": ()}, "does not name its 3 outputs"),
        ({"preparation": {"sise": 3}}, "not a preparation"),
        ({"normalization": {"mean": [0.5, 0.5]}}, "not a normalization"),
        ({"normalization": {"sigma": 1}}, "not a normalization"),
    ],
)
def test_cards_that_cannot_be_used(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    save(tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        load_classifier(f"artifact:{tmp_path}")


def test_an_unknown_architecture_lists_the_known(tmp_path: Path) -> None:
    save(tmp_path, architecture={"name": "fashion_cn"})
    with pytest.raises(UnknownNameError, match="did you mean 'fashion_cnn'"):
        load_classifier(f"artifact:{tmp_path}")


def test_changed_weights_and_missing_files(tmp_path: Path) -> None:
    save(tmp_path)
    content = bytearray((tmp_path / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="file changed"):
        load_classifier(f"artifact:{tmp_path}")
    (tmp_path / "card.json").unlink()
    with pytest.raises(InputError, match=r"card\.json is missing"):
        load_classifier(f"artifact:{tmp_path}")


def test_loading_leaves_the_generator_alone(tmp_path: Path) -> None:
    save(tmp_path)
    state = torch.random.get_rng_state()
    load_classifier(f"artifact:{tmp_path}")
    assert torch.equal(state, torch.random.get_rng_state())
