"""Experiment of system 36: bags at each share of positives, nothing shared between splits, and the smoke run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.data.files.arrays import load_arrays
from snellen.data.files.bundled import FASHION_CLASSES
from snellen.models.encoders.feature_store import FeaturesRecord, FrozenFeatures
from snellen.reproduction.multiple_instance import experiment as study
from snellen.reproduction.multiple_instance import materials, ways
from snellen.reproduction.multiple_instance.experiment import multiple_instance, task_at
from snellen.reproduction.multiple_instance.materials import RATES, Material, Sizes, garment_bags, slide_bags
from snellen.reproduction.multiple_instance.ways import ABLATIONS, RIVALS, Way, measured

SIZES = Sizes(train=4, val=2, test=2, shown=20)
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@pytest.fixture
def garments(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(split: Split) -> ImageSet:
        pixels = np.zeros((400, 4, 4, 3), dtype=np.uint8)
        return load_arrays(pixels, np.arange(400) % 10, class_names=FASHION_CLASSES, name=split)

    monkeypatch.setattr(materials, "fashion_mnist", few)


def held(images: ImageSet) -> Material:
    """A material whose vector tells the position of the image in the set."""
    record = FeaturesRecord(plan={"encoder": "e", "encoder_identity": "i"}, dim=1, ids=tuple(images.ids))
    vectors = torch.arange(len(images), dtype=torch.float32)[:, None]
    return Material(images, FrozenFeatures.of(vectors, record), SIZES.shown)


def check_rates(images: ImageSet) -> None:
    one, before = held(images), set[str]()
    for rate in sorted(RATES):
        bags, truth = one.at(rate)
        wanted = max(1, round(rate * SIZES.shown))
        for members, label in zip(bags.members, bags.labels.tolist(), strict=True):
            assert len(members) == SIZES.shown
            assert truth[members.numpy()].sum() == (wanted if label else 0)
        np.testing.assert_array_equal(images.labels[bags.inputs[:, 0].long().numpy()], truth)
        shown = {bags.ids[row] for row in np.flatnonzero(truth)}
        assert before <= shown  # a higher share keeps the positives of a lower one
        before = shown


def test_places_in_a_bag_tell_nothing_of_its_instances(garments: None) -> None:
    sizes = replace(SIZES, train=8)
    bags, truth = held(garment_bags("train", sizes, seed=3)).at(0.5)
    places = np.concatenate([np.flatnonzero(truth[members.numpy()]) for members in bags.members])
    assert len(places) == 4 * 10
    assert abs(places.mean() - 9.5) < 2  # all first would be 4.5, all last 14.5
    assert len({tuple(truth[members.numpy()]) for members in bags.members}) == 5  # each in an order of its own


def check_splits(parts: Sequence[ImageSet]) -> None:
    names = [set(part.ids) for part in parts]
    assert len(set.union(*names)) == sum(map(len, names))
    assert [part.split for part in parts] == list(SPLITS)


def test_garments_in_bags(garments: None) -> None:
    parts = [garment_bags(split, SIZES, seed=3) for split in SPLITS]
    check_splits(parts)
    # Train and val are of the same images of Fashion-MNIST, none of them in both.
    train, val = ({one.partition("/")[2] for one in part.ids} for part in parts[:2])
    assert not train & val
    for part in parts:
        check_rates(part)
    assert garment_bags("train", SIZES, seed=4).ids != parts[0].ids


def test_slides_in_bags() -> None:
    parts = [slide_bags(split, SIZES, seed=3) for split in SPLITS]
    check_splits(parts)
    for part in parts:
        check_rates(part)


def test_slides_that_hold_too_little_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(materials, "SLIDES", materials.SLIDES.model_copy(update={"tiles_across": 6}))
    with pytest.raises(InputError, match="larger slides"):
        slide_bags("train", SIZES, seed=3)


def test_splits_are_standardised_by_the_training_instances(garments: None) -> None:
    task = task_at(0.5, {split: held(garment_bags(split, SIZES, seed=3)) for split in SPLITS})
    assert task.val is not None
    assert float(task.instances.inputs.mean()) == pytest.approx(0, abs=1e-5)
    assert float(task.instances.inputs.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert float(task.test.inputs.mean()) < -0.2  # fewer images, so smaller positions
    assert task.test_truth.sum() == SIZES.shown // 2


def test_every_way_is_trained_on_each_instance_as_often() -> None:
    settings, plan = study.SMALL.settings, study.SMALL.instance_plan
    main = plan.epochs - settings.pretraining_epochs - settings.warmup_epochs
    # Half of the instances are in positive bags, those of the warm-up; whole bags count besides.
    looks = settings.pretraining_epochs + settings.warmup_epochs / 2 + main + (plan.epochs - settings.bags_from + 1)
    assert settings.warmup_on == "positive_bags"
    assert settings.bags_from > settings.pretraining_epochs + settings.warmup_epochs
    assert study.SMALL.label_plan.epochs == study.SMALL.bag_plan.epochs == looks


def test_smoke_runs_every_way() -> None:
    pytest.importorskip("openslide")
    figures = multiple_instance("smoke", 0, Silent())
    ways = {name.split(".")[1] for name in figures}
    assert ways == {"ins", "oracle", *ABLATIONS, *RIVALS}
    assert all(np.isfinite(value) for value in figures.values())
    assert figures["smoke.ins.highest_target"] > 0.5  # pseudo labels have moved
    with pytest.raises(InputError, match="no full experiment"):
        multiple_instance("full", 0, Silent())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, garments: None) -> None:
    """The small experiment without an encoder, on few bags."""
    monkeypatch.setattr(study, "SIZES", SIZES)
    monkeypatch.setattr(study, "material", lambda images, *_: held(images))
    monkeypatch.setattr(study, "encoder_at", lambda *_, **__: None)


def test_the_claims_name_figures_that_there_are_and_rates_are_chosen_once(
    monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    asked: dict[str, list[tuple[float, ...] | None]] = {}

    def reported(way: str, *_: object, rates: tuple[float, ...] | None) -> dict[str, float]:
        asked.setdefault(way, []).append(rates)
        further = ("positive_share", "bags_with_positive", "highest_target") if way in ("ins", *ABLATIONS) else ()
        return {"learning_rate": 0.25} | dict.fromkeys(("instance_auroc", "bag_auroc", *further), 0.5)

    monkeypatch.setattr(study, "measured", reported)
    figures = multiple_instance("small", 0, Silent())
    for claim in find_system("36").claims:
        assert {claim.metric, *claim.controls} <= set(figures)
        assert claim.baseline is None or claim.baseline in figures
    assert figures["slides.10.max.learning_rate"] == 0.25
    assert "10.max.learning_rate" not in figures
    for way in ("ins", *RIVALS):  # free at one share of each world, and the rate that was chosen there at all others
        assert asked[way] == 2 * [None, *(len(RATES) - 1) * [(0.25,)]]
    assert all(asked[way] == 2 * [(0.25,)] for way in ABLATIONS)
    assert asked["oracle"] == 2 * [None]


def test_the_val_bags_choose_the_rate_and_of_equals_the_one_that_was_right_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of each rate: AUROC of the validation bags over its epochs, and the epoch that was chosen.
    courses = {1.0: ([0.5, 0.9], 2), 2.0: ([0.8, 1.0], 2), 3.0: ([0.9, 1.0], 2), 4.0: ([1.0, 0.2], 1)}
    # Test figures speak for the first, and must not be heard.
    right = {rate: np.array([0.1, 0.9]) if rate == 1.0 else np.array([0.9, 0.1]) for rate in courses}

    def trained(way: str, task: object, budget: object, changed: dict[str, float], *_: object) -> Way:
        rate = changed["learning_rate"]
        course, best = courses[rate]
        history = [{"epoch": epoch + 1, "val.bag_auroc": figure} for epoch, figure in enumerate(course)]
        return Way(right[rate], right[rate], history, best, {"told": rate})

    monkeypatch.setattr(ways, "_bags", trained)
    task = SimpleNamespace(test_truth=np.array([0, 1]), test=SimpleNamespace(labels=torch.tensor([0, 1])))
    for offered, chosen in (((1.0, 2.0), 2.0), ((2.0, 3.0), 3.0), ((3.0, 4.0), 3.0), ((1.0,), 1.0)):
        found = measured("max", task, study.SMOKE, Randomness(0), Silent(), rates=offered)
        assert found["learning_rate"] == found["told"] == chosen
        assert found["bag_auroc"] == float(chosen == 1.0)
