"""Recipes that differ in what is done to batches and in what is minimised: one frame, the same card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core import index
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import build
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.methods.recipes.augmix import AugMix, agreeing, jensen_shannon
from snellen.methods.recipes.label_smoothing import LabelSmoothing
from snellen.methods.recipes.supervised import Supervised
from snellen.models.classifiers.references import load_classifier
from snellen.testing import check_method
from snellen.training.batches import Batch
from snellen.training.fitting.recipe import PLAN as PLAN_OF_RECIPES
from snellen.training.fitting.recipe import ClassifierRecipe
from snellen.training.objectives import classify
from snellen.training.plan import TrainingPlan

PLAN = TrainingPlan(epochs=3, batch_size=16, learning_rate=3e-3, schedule="constant")
BASELINES = ("supervised", "label_smoothing", "mixup", "cutmix", "rand_augment", "augmix")


def images(count: int = 64, several: bool = False) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 60, (count, 28, 28, 3))
    labels = np.arange(count) % 2
    stripes = 120 * (np.arange(28) // 2 % 2)
    pixels += np.where(labels[:, None, None] == 0, stripes[:, None], stripes[None, :])[..., None]
    return load_arrays(
        pixels.astype(np.uint8),
        np.stack([labels, 1 - labels], 1) if several else labels,
        class_names=["lying", "upright"],
        name="stripes",
    )


def recipe(name: str, **changes: object) -> ClassifierRecipe:
    made = build("recipes", {"method": name, "architecture": "fashion_cnn", "side": 28, "plan": PLAN, **changes})
    assert isinstance(made, ClassifierRecipe)
    return made


@pytest.mark.parametrize("name", BASELINES)
def test_each_learns_and_writes_a_classifier(name: str, tmp_path: Path) -> None:
    check_method(index.entry("recipes", name))
    made = recipe(name, plan=PLAN.model_copy(update={"epochs": 8})).fit(images(), rng=Randomness(0))
    made.save(tmp_path / "made")
    classifier = load_classifier(f"artifact:{tmp_path / 'made'}")
    batch = torch.stack([classifier.prepare(example.image) for example in images()])
    right = (classifier.predict(classifier(batch)).numpy() == images().labels).mean()
    assert right > 0.9, f"{name}: {right}"
    assert made.card.name == name.replace("_", "-")
    assert made.card.lineage.recipe["method"] == name
    assert [row["epoch"] for row in made.card.history] == list(range(1, 9))
    assert made.card.history[-1]["train.loss"] < made.card.history[0]["train.loss"]


def test_recipes_start_from_the_same_weights_and_differ() -> None:
    one_step = PLAN.model_copy(update={"epochs": 1, "batch_size": 64})
    made = {name: recipe(name, plan=one_step).fit(images(), rng=Randomness(0)).tensors for name in BASELINES}
    names = list(made["supervised"])
    whole = {name: torch.cat([made[name][key].double().flatten() for key in names]) for name in BASELINES}
    for one in BASELINES:
        for other in BASELINES:
            if one < other:
                assert not torch.equal(whole[one], whole[other]), f"{one} is {other}"
    assert torch.equal(
        whole["supervised"],
        torch.cat(
            [
                recipe("supervised", plan=one_step).fit(images(), rng=Randomness(0)).tensors[k].double().flatten()
                for k in names
            ]
        ),
    )


def test_crops_and_flips_are_the_same_choice_for_all() -> None:
    plain = recipe("supervised").fit(images(), rng=Randomness(0)).tensors
    for changes in ({"flips": True}, {"smallest_crop": 0.3}):
        changed = recipe("supervised", **changes).fit(images(), rng=Randomness(0)).tensors
        assert any(not torch.equal(plain[key], changed[key]) for key in plain), changes


@pytest.mark.parametrize("name", ["supervised", "mixup", "cutmix", "rand_augment"])
def test_several_labels_an_image(name: str) -> None:
    made = recipe(name).fit(images(several=True), rng=Randomness(0))
    assert made.card.task == "multilabel"


@pytest.mark.parametrize("name", ["label_smoothing", "augmix"])
def test_objectives_of_one_label_refuse_several(name: str) -> None:
    with pytest.raises(InputError, match="one label each, and these have several"):
        recipe(name).fit(images(several=True), rng=Randomness(0))


def _batch() -> Batch:
    rng = Randomness(0).for_examples(["a", "b"])
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return Batch(pixels, torch.tensor([0, 1]), torch.ones(2), torch.arange(2), rng)


def test_smoothing_nothing_is_cross_entropy() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    plain = classify(model, _batch())
    assert torch.equal(LabelSmoothing(share=0.0).objective()(model, _batch()), plain)
    assert not torch.equal(LabelSmoothing(share=0.2).objective()(model, _batch()), plain)


def test_agreement_is_required_of_three_views_in_one_pass() -> None:
    seen: list[torch.Tensor] = []
    linear = nn.Linear(3 * 16 * 16, 2)

    class Watching(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return linear(images.flatten(1))

    batch = _batch()
    losses = AugMix().objective()(Watching(), batch)
    (views,) = seen
    assert views.shape[0] == 6
    assert torch.equal(views[:2], batch.images), "the first view is clean"
    assert not torch.equal(views[2:4], views[4:]), "the other two differ"
    clean = classify(nn.Sequential(nn.Flatten(), linear), batch)
    assert bool((losses >= clean - 1e-6).all())

    def unchanged(images: torch.Tensor, targets: torch.Tensor, rng: Randomness) -> tuple[torch.Tensor, torch.Tensor]:
        return images, targets

    assert torch.allclose(agreeing(unchanged, 12.0)(Watching(), batch), clean, atol=1e-5), "equal views cost nothing"


def test_jensen_shannon_is_that_of_its_definition() -> None:
    scores = [torch.randn(5, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    probabilities = torch.stack([one.double().softmax(1) for one in scores])
    entropy = -(probabilities * probabilities.log()).sum(2)
    mean = probabilities.mean(0)
    expected = -(mean * mean.log()).sum(1) - entropy.mean(0)
    assert torch.allclose(jensen_shannon(*scores).double(), expected, atol=1e-6)


def test_an_unknown_architecture_is_said_before_anything_is_read() -> None:
    assert "cannot train" in str(Supervised(architecture="no-such-network").missing())


def test_a_part_of_a_plan_is_laid_over_the_recipes_own() -> None:
    made = Supervised(plan={"epochs": 3})  # type: ignore[arg-type]
    assert made.plan == PLAN_OF_RECIPES.model_copy(update={"epochs": 3})
