"""The full experiment with random weights, a handful of images and attacks of a step or two."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.models.random_folders import draw_weights
from snellen.reproduction.defensive_distillation import full as full_module
from snellen.reproduction.defensive_distillation.attack_figures import Strengths
from snellen.reproduction.defensive_distillation.comparison import under_attack
from snellen.reproduction.defensive_distillation.experiment import attack_comparison
from snellen.reproduction.defensive_distillation.full import FAMILIES, IMAGES, TEST, TRAIN, WANTED, FullSize, full
from snellen.reproduction.sample import Sample, mean_of
from snellen.reproduction.shared.pooled_figures import pooled
from snellen.training.plan import TrainingPlan
from tests.verbs.picture_sets import InMemory

transformers = pytest.importorskip("transformers")

SIZE = FullSize(
    images=3, block=2, strengths=Strengths(epsilons=(0.0, 0.05), steps=1, cw_steps=2, cw_searches=1, cw_images=2),
    temperatures=(1.0, 40.0, 100.0), plan=TrainingPlan(epochs=1, batch_size=4), teacher="resnet18", student="resnet18",
)  # fmt: skip


def made_images(side: int, classes: int, count: int = 4, split: str = "test") -> ImageSet:
    generator = torch.Generator().manual_seed(side)
    pixels = torch.randint(0, 256, (count, side, side, 3), generator=generator, dtype=torch.uint8).numpy()
    table = pa.table({"id": [f"{split}{one}" for one in range(count)], "label": [0, 1] * (count // 2)})
    pictures = [Image.fromarray(one) for one in pixels]
    return ImageSet(InMemory(pictures), table, tuple(map(str, range(classes))), name=f"made of {classes}")


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, ImageSet]:
    """Images by reference; a ResNet for 1,000 classes and 224 pixels stands behind each family."""
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 16], depths=[1, 1], layer_type="bottleneck", num_labels=1000
    )
    model = transformers.ResNetForImageClassification(config).eval()
    draw_weights(model, seed=3)
    model.save_pretrained(tmp_path)
    transformers.ViTImageProcessorPil(size={"height": 224, "width": 224}).save_pretrained(tmp_path)
    images = {
        "photos": made_images(224, 1000),
        "train": made_images(32, 10, split="train"),
        "test": made_images(32, 10),
    }
    for variable, value in {IMAGES: "photos", TRAIN: "train", TEST: "test"}.items():
        monkeypatch.setenv(variable, value)
    for variable in FAMILIES.values():
        monkeypatch.setenv(variable, f"hf:{tmp_path}")
    monkeypatch.setattr(full_module, "load_images", images.__getitem__)
    return images


def test_the_full_experiment_gives_every_figure_of_its_claims(given: Mapping[str, ImageSet]) -> None:
    figures = full(0, Silent(), size=SIZE)
    claims = [claim for claim in find_system("10").claims if "full" in claim.scales]
    named = {name for claim in claims for name in (claim.metric, claim.baseline, *claim.controls) if name}
    assert {claim.id for claim in claims} == {"10.k", "10.l", "10.m"}
    gates = {gate.metric for gate in find_system("10").gates if "full" in gate.scales}
    assert named | gates <= set(figures)
    for name in FAMILIES:
        assert figures[f"published.{name}.fgsm.0.error"] == figures[f"published.{name}.clean_error"]
        assert not any("median_margin" in key for key in figures if name in key)
    # One network stands behind all three, and each sees the same images.
    assert len({figures[f"published.{name}.fgsm_error"] for name in FAMILIES}) == 1
    assert {"undistilled.fgsm_success", "teacher_40.clean_accuracy", "distilled_100.transfer_success"} <= set(figures)


def test_blocks_of_images_are_pooled_as_one() -> None:
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    draw_weights(network, seed=1)
    images = torch.rand(7, 3, 4, 4, generator=generator)
    classifier = Classifier(network, class_names=list("abcde"))
    labels = classifier(images).argmax(1)
    labels[2] = (labels[2] + 1) % 5
    strengths = Strengths(epsilons=(0.0, 0.05), steps=2, cw_steps=20, cw_searches=2, cw_images=7)
    whole = under_attack(classifier, [(images, labels)], strengths, Randomness(0))
    parts = under_attack(classifier, zip(images.split(3), labels.split(3), strict=True), strengths, Randomness(0))
    for name in ("clean_error", "fgsm_error", "fgsm_success", "cw_success", "cw_log2_distance", "cw_gradients"):
        assert mean_of(parts[name]) == pytest.approx(mean_of(whole[name])), name
    assert len(parts["fgsm_success"].values) == 6, "what was wrong before does not count"
    lengths = 2.0 ** np.array(whole["cw_log2_distance"].values)
    assert parts["cw_median_l2"] == pytest.approx(np.median(lengths))
    assert parts["cw_mean_l2"] == pytest.approx(whole["cw_mean_l2"])


def test_a_block_without_a_success_is_left_out_of_the_sample() -> None:
    found = pooled([(3, {"a": Sample((1.0, 0.0)), "b": 1.0}), (1, {"a": None, "b": 0.0})])
    assert found == {"a": Sample((1.0, 0.0)), "b": 0.75}
    assert pooled([(3, {"a": None}), (1, {"a": None})]) == {"a": None}


def test_networks_for_cifar_keep_its_resolution() -> None:
    network = full_module._small_stem("resnet18", 10)()
    assert network.layer1(network.maxpool(network.conv1(torch.rand(1, 3, 32, 32)))).shape[-2:] == (32, 32)


def test_refusals_name_what_is_needed(given: Mapping[str, ImageSet], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(given, "photos", made_images(224, 200))
    with pytest.raises(InputError, match="has 1000 classes, and made of 200 has 200"):
        full(0, Silent(), size=SIZE)
    for variable in WANTED:
        monkeypatch.delenv(variable)
    with pytest.raises(InputError) as refused:
        attack_comparison("full", 0, Silent())
    assert all(variable in str(refused.value) for variable in WANTED)
