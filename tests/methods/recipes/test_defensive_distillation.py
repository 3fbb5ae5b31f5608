"""The recipe: what it trains, what it records, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from snellen.core import index
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.joining import join
from snellen.data.files.splits import as_split
from snellen.methods.recipes.defensive_distillation import DefensiveDistillation
from snellen.models.classifiers.references import load_classifier
from snellen.testing import check_method
from snellen.training.plan import TrainingPlan

PLAN = TrainingPlan(epochs=1, batch_size=8, learning_rate=1e-3)


def images(count: int = 16, seed: int = 0, names: tuple[str, ...] = ("left", "right")) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 120, (count, 28, 28, 3))
    labels = np.arange(count) % 2
    pixels[:, :, 14:] += 90 * labels[:, None, None, None]
    return load_arrays(pixels.astype(np.uint8), labels, class_names=list(names), name="squares")


def recipe(**changes: object) -> DefensiveDistillation:
    options: dict[str, object] = {"architecture": "fashion_cnn", "side": 28, "plan": PLAN, "temperature": 40.0}
    return DefensiveDistillation(**{**options, **changes})


def test_the_recipe_is_found_and_keeps_the_promises_of_its_verb() -> None:
    entry = index.entry("recipes", "defensive-distillation")
    assert entry.load() is DefensiveDistillation
    check_method(entry)
    assert DefensiveDistillation.treats == (), "it treats nothing"


@pytest.mark.covers("10.5")
def test_the_student_is_an_ordinary_classifier_with_its_training_on_record(tmp_path: Path) -> None:
    made = recipe(scaled_start=True).fit(images(), rng=Randomness(3))
    record = made.card.lineage.recipe
    assert (record["method"], record["temperature"], record["hard_share"]) == ("defensive_distillation", 40.0, 0.0)
    assert made.card.lineage.seed == 3
    made.save(tmp_path / "student")
    classifier = load_classifier(f"artifact:{tmp_path / 'student'}")
    assert classifier.class_names == ("left", "right")
    with torch.no_grad():
        scores = classifier(torch.rand(2, 3, 28, 28))
    plain = recipe(temperature=1.0, scaled_start=True).fit(images(), rng=Randomness(3))
    ratio = made.tensors["head.weight"].abs().mean() / plain.tensors["head.weight"].abs().mean()
    assert 20 < float(ratio) < 60
    assert scores.shape == (2, 2)


def test_the_same_randomness_gives_the_same_weights_and_each_parameter_counts() -> None:
    def weights(seed: int = 0, **changes: object) -> torch.Tensor:
        return recipe(**changes).fit(images(), rng=Randomness(seed)).tensors["head.weight"]

    first = weights()
    assert torch.equal(first, weights())
    for other in (weights(1), weights(temperature=2.0), weights(hard_share=0.5), weights(scaled_start=True)):
        assert not torch.equal(first, other)


def test_a_val_split_a_base_and_a_teacher_trained_before(tmp_path: Path) -> None:
    both = join([as_split(images(), "train"), as_split(images(8, seed=1), "val")])
    base = recipe().fit(both, rng=Randomness(0)).save(tmp_path / "teacher")
    assert {"val.accuracy", "val.loss"} == set(base.card.metrics)
    child = recipe(teacher=f"artifact:{tmp_path / 'teacher'}").fit(both, base=base, rng=Randomness(0))
    assert child.card.lineage.parent == base.card.sha256
    with pytest.raises(InputError, match="prepares images otherwise"):
        recipe(teacher=f"artifact:{tmp_path / 'teacher'}", side=32).fit(both, rng=Randomness(0))
    others = images(names=("up", "down"))
    with pytest.raises(InputError, match=r"the teacher .* expected a classifier of the 2 classes"):
        recipe(teacher=f"artifact:{tmp_path / 'teacher'}").fit(others, rng=Randomness(0))
    with pytest.raises(InputError, match=r"the base .* expected a classifier"):
        recipe().fit(others, base=base, rng=Randomness(0))


def test_what_cannot_be_distilled_is_refused() -> None:
    with pytest.raises(InputError, match="holds test images"):
        recipe().fit(as_split(images(), "test"), rng=Randomness(0))
    with pytest.raises(InputError, match="more than 0"):
        recipe(temperature=0)
    assert "unknown architecture 'fashion_cn'" in str(recipe(architecture="fashion_cn").missing())
    assert "unknown architecture 'nothing'" in str(recipe(teacher="nothing").missing())
    assert recipe(teacher="artifact:somewhere").missing() is None
