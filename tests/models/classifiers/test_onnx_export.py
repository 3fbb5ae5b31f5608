"""ONNX files that are written here: the same scores, everything told, clear refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.errors import InputError, ModelError, UnsupportedError
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers import onnx_export
from snellen.models.classifiers.onnx_export import export_onnx
from snellen.models.classifiers.references import load_classifier

NAMES = ["a", "b", "c"]
SIZED = Preprocessing(size=(8, 10), resize="shorter", resize_to=(8, 10))


def classifier(network: nn.Module | None = None, **changes: object) -> Classifier:
    torch.manual_seed(0)
    network = network or nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    options: dict[str, object] = {
        "class_names": NAMES, "preparation": SIZED, "normalization": Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.1)),
    }  # fmt: skip
    return Classifier(network, **{**options, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["single", "multilabel"])
def test_a_round_trip_changes_nothing(task: str, tmp_path: Path) -> None:
    ours = classifier(task=task)
    again = load_classifier(f"onnx:{export_onnx(ours, tmp_path / 'deep' / 'model.onnx')}")
    for count in (1, 7):
        batch = torch.rand(count, 3, 8, 10)
        assert torch.allclose(again(batch), ours(batch), atol=1e-6)
    assert (again.class_names, again.preparation, again.task) == (ours.class_names, SIZED, task)
    assert len(again.notes) == 1  # that torch runs the graph


def test_a_threshold_at_which_the_runtime_decides_otherwise_is_refused(tmp_path: Path) -> None:
    def rare(threshold: float) -> Classifier:
        network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3), nn.Sigmoid())
        with torch.no_grad():
            network[2].weight.zero_()
            network[2].bias.copy_(torch.tensor([0.0, -19.0, 1.0]))  # 5.6e-9
        torch.manual_seed(0)
        return load_classifier(
            network, NAMES, preparation=SIZED, task="multilabel", output="probabilities", name="rare"
        ).with_thresholds({"b": threshold})

    unsafe = rare(1e-9)
    assert bool(unsafe.predict(unsafe(torch.rand(2, 3, 8, 10)))[:, 1].all()), "the module gives the label"
    with pytest.raises(UnsupportedError, match=r"gives 'b' from .* 1e-09 on.*Raise the threshold to 1e-06"):
        export_onnx(unsafe, tmp_path / "unsafe.onnx")
    assert not (tmp_path / "unsafe.onnx").exists()
    safe = rare(1e-6)
    file, batch = export_onnx(safe, tmp_path / "safe.onnx"), torch.rand(2, 3, 8, 10)
    again = load_classifier(f"onnx:{file}", model_args={"run_by": "onnxruntime"})
    assert torch.equal(again.predict(again(batch)), safe.predict(safe(batch)))


def test_a_graph_that_gives_other_scores_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unsteady(nn.Module):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            Unsteady.calls += 1
            return images.mean((2, 3)) + Unsteady.calls

    with pytest.raises((ModelError, UnsupportedError)):
        export_onnx(classifier(Unsteady()), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_the_tolerance_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="gives other scores"):
        export_onnx(classifier(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no torch module"):
        export_onnx(Classifier(lambda images: images.mean((2, 3)), class_names=NAMES), tmp_path / "model.onnx")
    with pytest.raises(InputError, match="does not state the size"):
        export_onnx(classifier(preparation=Preprocessing()), tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"named \.onnx"):
        export_onnx(classifier(), tmp_path / "model.pt")

    class Branching(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3)) * (1.0 if float(images.sum()) > 0 else 2.0)

    with pytest.raises(UnsupportedError, match="torch cannot write") as told:
        export_onnx(classifier(Branching()), tmp_path / "model.onnx")
    assert "step 1/3" not in str(told.value)


def test_what_a_network_says_of_itself_is_reported_as_it_is(tmp_path: Path) -> None:
    class Drawing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise UnsupportedError("this network draws by the pixels")

    with pytest.raises(UnsupportedError, match=r"^this network draws by the pixels$"):
        export_onnx(classifier(Drawing()), tmp_path / "model.onnx")


def test_a_graph_of_one_number_of_images_is_not_kept(tmp_path: Path) -> None:
    class Parted(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.cat([part.mean((2, 3)) for part in images.split(2)])

    with pytest.raises(ModelError, match="takes 4 images at once and no other number"):
        export_onnx(classifier(Parted()), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_small_scores_of_several_images_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    class Off(onnxruntime.InferenceSession):
        def run(self, *given: object) -> list[object]:
            (scores,) = super().run(*given)
            scores[-1] += 5e-4
            return [scores]

    linear = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        linear.weight.mul_(0.01)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Off)
    with pytest.raises(ModelError, match="gives other scores"):
        export_onnx(classifier(network), tmp_path / "model.onnx")
