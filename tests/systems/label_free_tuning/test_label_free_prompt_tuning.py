"""The recipe: no label is read, the result is an ordinary classifier, and what cannot be used is refused."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.auditing.audit import audit
from snellen.auditing.compare.compare import compare
from snellen.core import index
from snellen.core.artifact import Artifact
from snellen.core.errors import InputError, ModelError, RejectedImageError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.data.files.splits import as_split
from snellen.models.classifiers.references import load_classifier
from snellen.models.encoders.references import load_encoder
from snellen.models.random_folders import write_random_clip, write_random_openclip
from snellen.models.references import load_two_tower
from snellen.systems.label_free_tuning import method as module
from snellen.systems.label_free_tuning.method import LabelFreePromptTuning
from snellen.systems.label_free_tuning.selection import FewImagesWarning
from snellen.testing import check_method
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


def test_the_recipe_is_found_and_keeps_the_promises_of_its_verb() -> None:
    for name in ("label-free-prompt-tuning", "nola"):
        entry = index.entry("recipes", name)
        assert entry.load() is LabelFreePromptTuning
    check_method(entry)
    assert "labels" not in LabelFreePromptTuning.needs


def test_the_result_is_an_ordinary_classifier_that_names_its_tower(clip: Path, other: Path, tmp_path: Path) -> None:
    made = recipe(clip, other).fit(images(None), rng=Randomness(0)).save(tmp_path / "tuned")
    record = made.card.architecture
    assert (record["name"], record["tower"], record["prompts"]) == ("prompted_tower", f"hf:{clip}", 3)
    assert record["identity"] == load_two_tower(f"hf:{clip}").identity()
    norms = [name for name in made.tensors if name.startswith("tower.image_tower.")]
    assert set(made.tensors) == {"head.weight", "tower.prompts", *norms}
    classifier = load_classifier(f"artifact:{tmp_path / 'tuned'}")
    assert classifier.class_names == NAMES
    assert classifier.feature_layer == "tower"
    shown = torch.rand(2, 3, 32, 32, requires_grad=True)
    scores = classifier(shown)
    scores.sum().backward()
    assert shown.grad is not None
    assert scores.shape == (2, 2)
    facts = made.card.lineage.recipe
    assert set(facts["pseudo_labels"]) == set(NAMES)
    assert sum(row["labelled"] for row in facts["pseudo_labels"].values()) == 40
    assert {"chosen", "likeliest", "choice", "least_confidence"} <= set(facts["pseudo_labels"]["cat"])
    assert 0 <= made.card.metrics["agreement"] <= 1
    assert not any("accuracy" in name for row in made.card.history for name in row)
    # Other weights under the same reference are noticed.
    write_random_clip(clip.parent / "moved", seed=5)
    changed = {**record, "tower": f"hf:{clip.parent / 'moved'}"}
    Artifact(made.tensors, made.card.model_copy(update={"architecture": changed})).save(tmp_path / "moved")
    with pytest.raises(InputError, match="other weights than the tower that this classifier was tuned on"):
        load_classifier(f"artifact:{tmp_path / 'moved'}")


def test_the_result_is_audited_and_compared_like_any_classifier(clip: Path, other: Path, tmp_path: Path) -> None:
    tested = as_split(images(np.arange(40) % 2), "test")
    for seed in (0, 1):
        recipe(clip, other).fit(images(None), rng=Randomness(seed)).save(tmp_path / f"tuned{seed}")
        classifier = load_classifier(f"artifact:{tmp_path / f'tuned{seed}'}")
        report = audit(classifier, tested, out=tmp_path / f"run{seed}", checks=["clean"])
        assert report.metrics["clean.accuracy"].n == 40
    found = compare(tmp_path / "run0", tmp_path / "run1")
    assert found.paired
    assert "clean.accuracy" in {figure.name for figure in found.figures}


@pytest.mark.covers("35.11")
def test_each_model_prepares_and_normalises_images_for_itself(
    clip: Path, other: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tower, encoder = load_two_tower(f"hf:{clip}"), load_encoder(f"hf:{other}")
    unlike = replace(encoder, normalization=encoder.normalization._replace(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)))
    assert unlike.normalization != tower.normalization
    assert unlike.preparation.size == (24, 24)
    monkeypatch.setattr(module, "load_encoder", lambda _reference: unlike)
    seen: list[torch.Tensor] = []
    unlike.network.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    data = images(None)
    made = recipe(clip, other).fit(data, rng=Randomness(0)).save(tmp_path / "tuned")
    shown = torch.stack([unlike.preparation(data.read(row)) for row in range(3)])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in unlike.normalization)
    assert torch.allclose(torch.cat(seen)[:3], (shown - mean) / std, atol=1e-6)
    # The student applies the tower's own numbers inside, and its card asks for none.
    classifier = load_classifier(f"artifact:{tmp_path / 'tuned'}")
    assert made.card.normalization == {"mean": [0.0] * 3, "std": [1.0] * 3}
    assert classifier.module is not None
    entering: list[torch.Tensor] = []
    classifier.module.tower.register_forward_pre_hook(lambda _module, inputs: entering.append(inputs[0]))
    pixels = torch.rand(2, 3, 32, 32)
    classifier(pixels)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in tower.normalization)
    assert torch.allclose(entering[0], (pixels - mean) / std, atol=1e-6)


def test_features_are_kept_and_read_again(
    clip: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = recipe(clip, other, keep=tmp_path / "kept").fit(images(None), rng=Randomness(0))
    encoder = load_encoder(f"hf:{other}")
    calls: list[int] = []
    encoder.network.register_forward_pre_hook(lambda _module, inputs: calls.append(len(inputs[0])))
    monkeypatch.setattr(module, "load_encoder", lambda _reference: encoder)
    again = recipe(clip, other, keep=tmp_path / "kept").fit(images(None), rng=Randomness(0))
    assert calls == []
    assert again.card.lineage == first.card.lineage
    assert torch.equal(again.tensors["head.weight"], first.tensors["head.weight"])


def test_an_image_that_cannot_be_read_is_left_out(clip: Path, other: Path) -> None:
    data = images(None)

    class Torn:
        def read(self, number: int) -> Image.Image:
            if number == 7:
                raise RejectedImageError("torn")
            return data.source.read(number)

        def content_hash(self, number: int) -> str:
            return data.source.content_hash(number)

    made = recipe(clip, other).fit(replace(data, source=Torn()), rng=Randomness(0))
    rows = made.card.lineage.recipe
    assert rows["rejected"] == 1
    assert sum(row["labelled"] for row in rows["pseudo_labels"].values()) == 39


def test_agreement_may_choose_the_epoch_and_descriptions_and_seed_count(
    clip: Path, other: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "words.toml"
    listed.write_text('cat = ["a tail"]\ndog = ["it barks"]\n', encoding="utf-8")
    plain = recipe(clip, other).fit(images(None), rng=Randomness(0))
    chosen = recipe(clip, other, selection="agreement").fit(images(None), rng=Randomness(0))
    assert "val.agreement" in chosen.card.history[0]
    told = recipe(clip, other, descriptions=str(listed)).fit(images(None), rng=Randomness(0))
    assert (plain.card.lineage.recipe["described_classes"], told.card.lineage.recipe["described_classes"]) == (0, 2)
    assert plain.card.lineage.recipe["texts_sha256"] != told.card.lineage.recipe["texts_sha256"]
    for one in (told, recipe(clip, other).fit(images(None), rng=Randomness(1))):
        assert not torch.equal(one.tensors["head.weight"], plain.tensors["head.weight"])


def test_a_stopped_student_goes_on_where_it_was(clip: Path, other: Path, tmp_path: Path) -> None:
    long = recipe(clip, other, plan={"epochs": 3, "batch_size": 20})
    whole = long.fit(images(None), rng=Randomness(0))

    class Stopping:
        def begin(self, task: str, total: int) -> None:
            self.steps = 0

        def advance(self, task: str, count: int = 1, note: str = "") -> None:
            if note.startswith("epoch 2") and task == "train" and "/3" in note:
                raise KeyboardInterrupt

        def finish(self, task: str) -> None:
            pass

    with pytest.raises(KeyboardInterrupt):
        long.fit(images(None), rng=Randomness(0), checkpoint=tmp_path / "student.safetensors", progress=Stopping())
    on = long.fit(images(None), rng=Randomness(0), checkpoint=tmp_path / "student.safetensors")
    assert torch.equal(on.tensors["head.weight"], whole.tensors["head.weight"])
    assert torch.equal(on.tensors["tower.prompts"], whole.tensors["tower.prompts"])


def test_what_cannot_be_used_is_refused(clip: Path, other: Path, tmp_path: Path) -> None:
    data = images(None)
    with pytest.raises(InputError, match="needs the names of the classes"):
        recipe(clip, other, classes=()).fit(data, rng=Randomness(0))
    with pytest.raises(InputError, match="two classes or more"):
        recipe(clip, other, classes=("cat",)).fit(data, rng=Randomness(0))
    with pytest.raises(InputError, match="test images"):
        recipe(clip, other).fit(as_split(data, "test"), rng=Randomness(0))
    made = recipe(clip, other).fit(data, rng=Randomness(0))
    with pytest.raises(InputError, match="takes no base"):
        recipe(clip, other).fit(data, base=made, rng=Randomness(0))
    residual = write_random_openclip(tmp_path / "resnet", convolutional=True)
    with pytest.raises(UnsupportedError, match="learned tokens enter a vision transformer"):
        recipe(clip, other, tower=f"openclip:{residual}").fit(data, rng=Randomness(0))
    many = tuple(f"thing {number}" for number in range(12))
    with (
        pytest.warns(FewImagesWarning, match="40 images for 12 classes"),
        pytest.raises(ModelError, match="the collection does not show it"),
    ):
        recipe(clip, other, classes=many, fallback_depth=1).fit(data, rng=Randomness(0))


def test_names_of_the_images_serve_where_none_are_given(clip: Path, other: Path) -> None:
    made = recipe(clip, other, classes=()).fit(images(np.arange(40) % 2), rng=Randomness(0))
    assert made.card.class_names == NAMES
