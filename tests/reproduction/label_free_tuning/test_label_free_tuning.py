"""System 35: all stages run in the shapes of CLIP and DINO, and what the arms return is what the claims name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.data.worlds.optotypes.small_world import SHAPES
from snellen.models.dual_encoders.prompted import prompted_classifier
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.sentence_encoder import load_text_encoder
from snellen.models.random_folders import write_random_bert, write_random_clip
from snellen.models.references import load_two_tower
from snellen.reproduction.label_free_tuning import arms, cutouts, scales
from snellen.reproduction.label_free_tuning import experiment as study
from snellen.reproduction.label_free_tuning.arms import Setting, Study
from snellen.reproduction.label_free_tuning.caption_towers import CaptionTowers, fit_caption_towers, named_vectors
from snellen.reproduction.label_free_tuning.experiment import PROMPTS, ablations, label_free_tuning, scene_setting
from snellen.reproduction.label_free_tuning.noisy_scenes import all_sentences, noisy_scenes
from snellen.reproduction.label_free_tuning.references import (
    cross_validated,
    few_of_each,
    linear_probe,
    select_globally,
)
from snellen.training.loop import Trained, train


@pytest.fixture(autouse=True)
def _few_images() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*classes are the likeliest of fewer.*")
        warnings.filterwarnings("ignore", message=".*are fewer than .* for each.*")
        yield


def encoder(side: int = 8) -> FrozenEncoder:
    """Every fourth pixel."""
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(side), nn.Flatten())
    return FrozenEncoder(name="pixels", network=pooled, preparation=Preprocessing(size=(32, 32)))


@pytest.fixture(scope="module")
def setting() -> Setting:
    """A few scenes; what a test trains are copies."""
    return scene_setting(encoder(), 100, collected=24, tested=12)


def claimed(scale: str, start: str) -> set[str]:
    return {
        name
        for claim in find_system("35").claims
        if scale in claim.scales
        for name in (claim.metric, claim.baseline, *claim.controls)
        if name is not None and name.startswith(start)
    }


def test_all_stages_run_in_the_shapes_of_clip_and_dino() -> None:
    figures = label_free_tuning("smoke", 0, Silent())
    assert (figures["features"], figures["vectors"], figures["classes"]) == (768.0, 512.0, 2.0)
    assert figures["teacher_unchanged"] == 1.0
    assert figures["selected"] == 2.0
    assert figures["loss"] > 0
    # 16 tokens of 768, two classes of 512, and 26 layer norms of 768.
    assert figures["trained_parameters"] == 16 * 768 + 2 * 512 + 26 * 2 * 768


def test_the_arms_return_what_the_claims_name(setting: Setting) -> None:
    quick = replace(setting, plan=setting.plan.model_copy(update={"epochs": 2}), least=2)
    of = Study(quick, Silent())
    figures = {f"scenes.{name}": value for name, value in {**of.main_arms(), **ablations(of)}.items()}
    assert claimed("small", "scenes.") <= set(figures)
    assert all(0 <= value <= 1 for name, value in figures.items() if name != "scenes.selected.images")
    assert figures["scenes.nola.oracle"] >= figures["scenes.nola.accuracy"]
    known = {name.removeprefix("scenes.") for name in figures}
    assert {name.removeprefix("cutouts.") for name in claimed("small", "cutouts.")} <= known


@pytest.mark.covers("35.9")
def test_labels_choose_only_the_oracle(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = replace(setting, plan=setting.plan.model_copy(update={"epochs": 3}), least=2)
    wrong = replace(quick, truth=(quick.truth + 1) % 6)
    labels = torch.arange(24) % 6
    trained: list[Trained] = []

    def spied(*given: object, **options: object) -> Trained:
        trained.append(train(*given, **options))  # type: ignore[arg-type]
        return trained[-1]

    monkeypatch.setattr(arms, "train", spied)
    found = [Study(one, Silent()).followed(labels) for one in (quick, wrong)]
    agreements = [row["val.agreement"] for row in trained[0].history]
    assert trained[0].best_epoch == trained[1].best_epoch == 1 + agreements.index(max(agreements))
    assert agreements == [row["val.agreement"] for row in trained[1].history], "another truth changes no training"
    for figures, one in zip(found, trained, strict=True):
        accuracies = [row["val.accuracy"] for row in one.history]
        assert figures["oracle"] == max(accuracies)
        assert (figures["agreeing"], figures["accuracy"]) == (accuracies[one.best_epoch - 1], accuracies[-1])
    assert found[0]["accuracy"] == Study(quick, Silent()).student(labels), "looking changes nothing: arms are equal"


@pytest.mark.covers("35.4")
def test_the_model_as_its_own_teacher_is_another_arm(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    of = Study(replace(setting, plan=setting.plan.model_copy(update={"epochs": 1}), least=2), Silent())
    shown: list[torch.Tensor] = []
    monkeypatch.setattr(Study, "student", lambda self, labels, **_: shown.append(labels) or 0.0)
    monkeypatch.setattr(Study, "with_labels", lambda self: {})
    of.main_arms()
    assert torch.equal(shown[0], of.probabilities.argmax(1))
    assert not torch.equal(shown[0], of.teaching().labels)


def test_scenes_have_noise_that_the_model_never_saw_and_sentences_say_nothing_of_it() -> None:
    drawn = noisy_scenes(20, 0).scenes("train")
    assert {scene.style for scene in drawn} == {"photo"}
    assert all(1 <= scene.nuisances.noise <= 4 for scene in drawn)
    assert all(scene.nuisances.fog == scene.nuisances.blur == 0 for scene in drawn)
    said = all_sentences(0)
    assert tuple(said) == SHAPES
    assert all(len(set(sentences)) > 15 for sentences in said.values())
    assert not any(word in text for texts in said.values() for text in texts for word in ("noise", "grain", "static"))
    assert all_sentences(0) == said != all_sentences(1)


def test_probes_and_the_global_selection() -> None:
    labels = torch.arange(60) % 3
    features = torch.eye(3, 5)[labels] + 0.1 * torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    assert float((linear_probe(features, labels, 3)(features).argmax(1) == labels).double().mean()) == 1.0
    noise = torch.randn(60, 5, generator=torch.Generator().manual_seed(1))
    held = cross_validated(noise, labels, 3, Randomness(0)).argmax(1)
    assert float((held == labels).double().mean()) < 0.6, "no image is judged by a probe that had its label"
    assert float((cross_validated(features, labels, 3, Randomness(0)).argmax(1) == labels).double().mean()) == 1.0
    few = few_of_each(labels, 4, Randomness(0))
    assert torch.bincount(labels[few]).tolist() == [4, 4, 4]
    positions, found = select_globally(torch.tensor([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7]]), 2)
    assert (positions.tolist(), found.tolist()) == ([1, 2], [1, 1])


def test_a_picture_is_the_mean_of_the_names_that_are_seen() -> None:
    names, scores = torch.randn(5, 4), torch.tensor([[4.0, 2.0, 0.0, -2.0, 0.0]])
    weights = (scores / 2.0).softmax(1)[0, :2]
    expected = weights[0] * names[0] + weights[1] * names[1]
    assert torch.allclose(named_vectors(scores, names, kept=2)[0], expected / expected.norm(), atol=1e-6)


def test_caption_towers_take_prompts(tmp_path: Path) -> None:
    sentences = load_text_encoder(f"hf:{write_random_bert(tmp_path / 'bert')}")
    texts = ["a cat", "a dog"]
    centre = sentences.encode(texts).mean(0)
    seen = torch.nn.functional.normalize(torch.randn(2, len(centre)), dim=1)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    plan = scales.TUNING_PLAN.model_copy(update={"epochs": 1, "batch_size": 2})
    towers = fit_caption_towers(pixels, texts, seen, sentences, centre, seed=0, plan=plan)
    assert towers.encode_images(pixels / 255).shape == (2, len(centre))
    assert torch.allclose(towers.encode_texts(texts).norm(dim=1), torch.ones(2), atol=1e-5)
    network = prompted_classifier(towers, towers.encode_texts(texts), prompts=PROMPTS)
    assert network(pixels / 255).shape == (2, 2)
    assert len(towers.identity()) == 64
    moved = CaptionTowers(towers.image_tower, sentences, centre + 1, towers.preparation, towers.normalization)
    assert moved.identity() != towers.identity(), "other vectors of texts are another model"


def test_groups_are_folders_with_all_below_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ['{"folders": ["animals", "mammals", "cats"]}', '{"folders": ["clothes"]}', '{"folders": ["space"]}']
    assert [cutouts._group(row) for row in rows] == [1, 2, -1]
    assert set(cutouts.SENTENCES) == set(cutouts.GROUPS)
    monkeypatch.setenv(cutouts.STAMPS_VARIABLE, "/nowhere/at/all")
    with pytest.raises(InputError, match="nowhere"):
        cutouts.load_cutouts(0)


def test_a_collection_by_path_is_read_with_its_sentences(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("test", 2)):
        for number, name in enumerate(("annual_crop", "river")):
            (tmp_path / part / name).mkdir(parents=True)
            for image in range(count):
                Image.new("RGB", (40, 40), (90 * number, 40 * image, 7)).save(tmp_path / part / name / f"{image}.png")
    (tmp_path / scales.SENTENCES_FILE).write_text('{"river": ["water"], "annual crop": ["a field"]}', encoding="utf-8")
    tower = load_two_tower(f"hf:{write_random_clip(tmp_path / 'clip')}")
    found = scales._by_path(tmp_path, tower, encoder(), 0, Silent())
    assert found.texts == {
        "annual crop": ("a field", "a photo of a annual crop."),
        "river": ("water", "a photo of a river."),
    }
    assert (sorted(found.known.tolist()), sorted(found.truth.tolist())) == ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1])
    assert (len(found.features), len(found.tested_features), found.prompts) == (6, 4, 16)
    assert found.plan.batch_size * found.plan.accumulate == 512
    assert found.images.targets.tolist() == [-1] * 6
    assert not found.judges_itself


def test_the_full_experiment_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(scales.CLIP, raising=False)
    with pytest.raises(InputError, match=r"SNELLEN_CLIP, .*sentences"):
        study.full(0, Silent())
