"""The recipe: kinds that are trained on, what is recorded, families held out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from snellen.cli.method_options import field_options, methods_of
from snellen.core import index
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import build
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.joining import join
from snellen.data.files.splits import as_split
from snellen.methods.corruptions.apply import targeted_augmentation
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.recipes.targeted_augmentation import PAPER_PLAN, TargetedAugmentation
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.shared.corruption_benchmark import corruption_benchmark
from snellen.testing import check_method
from snellen.training.fitting.recipe import ClassifierRecipe
from snellen.training.plan import TrainingPlan
from snellen.training.transforms import BatchTransform

PLAN = TrainingPlan(epochs=1, batch_size=8, learning_rate=1e-3)


def images(count: int = 16, seed: int = 0) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 120, (count, 28, 28, 3))
    labels = np.arange(count) % 2
    pixels[:, :, 14:] += 90 * labels[:, None, None, None]
    return load_arrays(pixels.astype(np.uint8), labels, class_names=["left", "right"], name="squares")


def recipe(**changes: object) -> TargetedAugmentation:
    options: dict[str, object] = {"architecture": "fashion_cnn", "side": 28, "plan": PLAN, "benchmark": "bloodmnist"}
    return TargetedAugmentation(**{**options, **changes})


def test_the_recipe_is_found_by_its_names_and_keeps_the_promises_of_its_verb() -> None:
    entry = index.entry("recipes", "targeted-augmentation")
    assert entry.load() is TargetedAugmentation
    assert index.entry("recipes", "MedMNIST-C") == entry
    check_method(entry)


def test_defaults_are_the_papers() -> None:
    default = TargetedAugmentation()
    assert (default.architecture, default.side, default.hold_out) == ("timm:resnet18", 224, None)
    plan = default.plan
    assert plan == PAPER_PLAN
    assert (plan.epochs, plan.optimizer, plan.learning_rate, plan.schedule) == (100, "adamw", 1e-4, "cosine")
    assert default.treats == ("corruption", "nuisance")
    assert default.kinds == benchmark("imagenet-c").main


@pytest.mark.parametrize("given", [{"epochs": 1}, {}, {"learning_rate": 0.5, "seed": 3}])
def test_numbers_that_a_plan_leaves_out_are_the_papers(given: dict[str, object]) -> None:
    expected = PAPER_PLAN.model_copy(update=given)
    assert TargetedAugmentation(plan=given).plan == expected
    assert build("recipes", {"method": "targeted_augmentation", "plan": given}).plan == expected
    entry = index.entry("recipes", "targeted_augmentation")
    (made,) = methods_of(entry, field_options(TargetedAugmentation), {"plan": [json.dumps(given)]})
    assert made == TargetedAugmentation(plan=expected)
    assert made.record()["plan"] == expected.model_dump(mode="json")
    assert set(made.record()["plan"]) == set(TrainingPlan.model_fields)
    assert TargetedAugmentation(plan=TrainingPlan(epochs=1)).plan == TrainingPlan(epochs=1), (
        "a whole plan is taken as it is"
    )


def test_wrong_numbers_are_named() -> None:
    entry, options = index.entry("recipes", "targeted_augmentation"), field_options(TargetedAugmentation)
    with pytest.raises(
        InputError, match=r"unknown key in --plan 'batch'; did you mean 'batch_size'.* Known: accumulate"
    ):
        methods_of(entry, options, {"plan": ['{"epochs": 1, "batch": 3}']})
    with pytest.raises(InputError, match=r"--plan .*: epochs: expected at least 1; takes JSON"):
        methods_of(entry, options, {"plan": ['{"epochs": 0}']})


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("resnet18", r"unknown architecture 'resnet18'; did you mean 'timm:resnet18'\?"),
        ("fashion_cn", "unknown architecture 'fashion_cn'; did you mean 'fashion_cnn'"),
        ("timm:resnet81", "unknown timm model 'resnet81'"),
    ],
)
def test_an_architecture_that_does_not_exist(architecture: str, message: str) -> None:
    assert re.search(f"cannot train: {message}", recipe(architecture=architecture).missing() or "")
    assert recipe().missing() is None
    assert recipe().missing(images=images()) is None


@pytest.mark.covers("37.10")
@pytest.mark.parametrize("name", ["bloodmnist", "dermamnist", "chestmnist", "imagenet-c"])
def test_a_family_that_is_held_out_is_not_trained_on(name: str) -> None:
    chosen = benchmark(name)
    for family, kinds in chosen.families.items():
        trained = recipe(benchmark=name, hold_out=family).kinds
        assert not set(trained) & set(kinds)
        assert set(trained) == set(chosen.main) - set(kinds)


def test_an_unknown_family_is_named_with_the_known() -> None:
    with pytest.raises(InputError, match=r"unknown family of bloodmnist 'noise'.* Known: blur, colour, digital"):
        recipe(hold_out="noise")
    with pytest.raises(InputError, match="unknown family of dermamnist 'nois'; did you mean 'noise'"):
        build("recipes", {"method": "targeted_augmentation", "benchmark": "dermamnist", "hold_out": "nois"})
    with pytest.raises(InputError, match="benchmark"):
        recipe(benchmark="bloodmnits")


@pytest.mark.covers("37.10")
def test_what_was_trained_on_is_in_the_lineage(tmp_path: Path) -> None:
    made = recipe(hold_out="blur").fit(images(), rng=Randomness(3))
    record = made.card.lineage.recipe
    assert (record["method"], record["benchmark"], record["hold_out"]) == (
        "targeted_augmentation",
        "bloodmnist",
        "blur",
    )
    assert record["kinds"] == list(recipe(hold_out="blur").kinds)
    assert not {"defocus_blur", "motion_blur"} & set(record["kinds"])
    assert made.card.lineage.seed == 3
    again = {key: value for key, value in record.items() if key not in ("kinds", "rejected")}
    assert build("recipes", json.loads(json.dumps(again))) == recipe(hold_out="blur")
    made.save(tmp_path / "blood")
    classifier = load_classifier(f"artifact:{tmp_path / 'blood'}")
    assert (classifier.class_names, classifier.task) == (("left", "right"), "single")
    assert made.card.name == "targeted-augmentation-bloodmnist"
    assert classifier.recipe["kinds"] == record["kinds"]
    errors = corruption_benchmark(
        classifier, images(), benchmark_name="bloodmnist", kinds=["pixelate", "motion_blur"], batch_size=16
    )
    assert errors.seen_in_training == ("pixelate",), "what overlaps is told with the figures"


def test_it_is_a_plain_fit_with_the_corruptions_as_the_transform() -> None:
    chosen = recipe(hold_out="digital")
    made = chosen.fit(images(), rng=Randomness(1))

    def by_hand(kinds: tuple[str, ...]) -> dict[str, torch.Tensor]:
        class ByHand(ClassifierRecipe):
            def transform(self, class_count: int) -> BatchTransform:
                return targeted_augmentation(benchmark("bloodmnist"), kinds)

        made = ByHand(architecture="fashion_cnn", side=28, plan=PLAN).fit(images(), rng=Randomness(1))
        return dict(made.tensors)

    expected, other = by_hand(chosen.kinds), by_hand(chosen.kinds[:1])
    assert all(torch.equal(tensor, expected[name]) for name, tensor in made.tensors.items())
    assert not torch.equal(made.tensors["head.weight"], other["head.weight"])


def test_the_same_randomness_gives_the_same_weights() -> None:
    first, second, other = (recipe().fit(images(), rng=Randomness(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())
    assert not torch.equal(first.tensors["head.weight"], other.tensors["head.weight"])
    assert first.card == second.card


def test_a_base_and_a_val_split(tmp_path: Path) -> None:
    both = join([as_split(images(), "train"), as_split(images(8, seed=1), "val")])
    base = recipe().fit(both, rng=Randomness(0)).save(tmp_path)
    assert {"val.accuracy", "val.loss"} == set(base.card.metrics)
    child = recipe(benchmark="dermamnist").fit(images(), base=base, rng=Randomness(0))
    assert child.card.lineage.parent == base.card.sha256


def test_test_images_are_refused() -> None:
    with pytest.raises(InputError, match="holds test images"):
        recipe().fit(as_split(images(), "test"), rng=Randomness(0))
