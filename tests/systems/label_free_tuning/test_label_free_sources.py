"""What the recipe learns from: no label on any way, and features of the other model, made once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError, LabelsHiddenError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.models.encoders.references import load_encoder
from snellen.models.random_folders import write_random_clip
from snellen.systems.label_free_tuning import method as module
from snellen.systems.label_free_tuning.method import LabelFreePromptTuning
from snellen.systems.label_free_tuning.teaching import Teaching, teach
from snellen.systems.label_free_tuning.tuning import tune_network
from snellen.training.batches import ImageStore
from snellen.training.loop import Trained
from snellen.verbs.train import train as deliver
from tests.methods.recipes.unlabelled_pets import NAMES, images, recipe


@pytest.fixture(autouse=True)
def _random_models_guess() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*classes are the likeliest of fewer.*")
        warnings.filterwarnings("ignore", message="the teacher labels no image as.*")
        yield


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_clip(tmp_path_factory.mktemp("other"), image_size=24, seed=1)


class Sealed(ImageSet):
    """Images whose labels nobody may look at, hidden or not."""

    @property
    def labels(self) -> np.ndarray:
        raise AssertionError("a label was touched")

    @property
    def has_labels(self) -> bool:
        raise AssertionError("it was asked whether there are labels")

    def fingerprint(self, progress: Progress | None = None) -> str:
        assert "label" not in self.table.column_names, "a label was hashed"
        return super().fingerprint(progress)

    def column(self, name: str) -> list[object]:
        assert name not in {"label", "labels", "true_label"}, "a label was touched"
        return super().column(name)


@pytest.mark.covers("35.1")
def test_no_label_is_read(clip: Path, other: Path) -> None:
    right = np.arange(40) % 2
    labelled = images(right)
    sealed = Sealed(labelled.source, labelled.table, labelled.class_names, labelled.name, labelled.rows)
    with pytest.raises(AssertionError, match="touched"):
        _ = sealed.labels
    with pytest.raises(LabelsHiddenError):
        _ = labelled.unlabelled().labels
    made = [
        recipe(clip, other).fit(data, rng=Randomness(0)) for data in (sealed, labelled, images(1 - right), images(None))
    ]
    for one in made[1:]:
        assert all(torch.equal(tensor, one.tensors[name]) for name, tensor in made[0].tensors.items())
        assert one.card == made[0].card, "right, wrong and no labels: the same result to the last bit"


@pytest.mark.covers("35.1")
def test_no_label_is_read_on_the_way_through_the_command(clip: Path, other: Path, tmp_path: Path) -> None:
    labelled = images(np.arange(40) % 2)
    sealed = Sealed(labelled.source, labelled.table, labelled.class_names, labelled.name, labelled.rows)
    delivered = deliver(recipe(clip, other), sealed, out=tmp_path / "out")
    assert delivered.onnx is not None, delivered.notes
    assert delivered.artifact.card.class_names == NAMES
    assert (tmp_path / "out" / "README.md").is_file()


@pytest.mark.covers("35.1")
def test_images_that_the_command_joins_come_without_labels_too(
    clip: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[ImageSet] = []

    def stopped(_recipe: LabelFreePromptTuning, data: ImageSet, **_options: object) -> Artifact:
        given.append(data)
        raise InputError("stopped")

    monkeypatch.setattr(LabelFreePromptTuning, "fit", stopped)
    more = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    for number, labels in enumerate((np.arange(40) % 2, 1 - np.arange(40) % 2)):
        joined = load_arrays(more, labels[:4], class_names=list(NAMES), name="more")
        renamed = replace(joined, table=joined.table.set_column(0, "id", [[f"more {row}" for row in range(4)]]))
        with pytest.raises(InputError, match="stopped"):
            deliver(recipe(clip, other), images(labels), val=renamed, out=tmp_path / f"out{number}")
    assert [len(data) for data in given] == [44, 44]
    assert all(data.hidden and "label" not in data.table.column_names for data in given)
    assert given[0].fingerprint() == given[1].fingerprint()
    asked = [(tmp_path / f"out{number}" / "training.json").read_bytes() for number in (0, 1)]
    assert asked[0] == asked[1]


@pytest.mark.covers("35.4")
@pytest.mark.covers("35.10")
def test_the_teacher_learns_features_of_the_other_model_which_are_made_once(
    clip: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, data = load_encoder(f"hf:{other}"), images(None)
    expected = encoder.encode(torch.stack([encoder.preparation(data.read(row)) for row in range(40)]))
    calls: list[int] = []
    encoder.network.register_forward_pre_hook(lambda _module, inputs: calls.append(len(inputs[0])))
    monkeypatch.setattr(module, "load_encoder", lambda _reference: encoder)
    taught, learned = [], []

    def spied_teach(probabilities: torch.Tensor, features: torch.Tensor, *rest: object, **options: object) -> Teaching:
        assert torch.allclose(features, expected, atol=1e-5)
        taught.append(teach(probabilities, features, *rest, **options))  # type: ignore[arg-type]
        return taught[-1]

    def spied_tune_network(network: torch.nn.Module, examples: ImageStore, **options: object) -> Trained:
        learned.append(examples.targets)
        return tune_network(network, examples, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "teach", spied_teach)
    monkeypatch.setattr(module, "tune_network", spied_tune_network)
    recipe(clip, other, plan={"epochs": 2, "batch_size": 20}).fit(data, rng=Randomness(0))
    assert sum(calls) == 40, "once for each image, whatever the number of epochs"
    assert torch.equal(learned[0], taught[0].labels)
