"""Recipes that learn from labels of bags: the artifact, what it says of bags, and what is never read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
import torch

from snellen.core.artifact import Artifact
from snellen.core.errors import InputError, LabelsHiddenError
from snellen.core.images import COLUMNS, ImageSet
from snellen.core.index import entry
from snellen.core.randomness import Randomness
from snellen.data.files.joining import join
from snellen.data.worlds.slides.slides import Slides
from snellen.metrics.bag_pooling import pooled
from snellen.models.classifiers.references import load_classifier
from snellen.systems.multiple_instance.bag_instances import BagInstances
from snellen.systems.multiple_instance.bag_pooling import HEADS, Aggregator, BagPooling
from snellen.systems.multiple_instance.method import MultipleInstanceLearning
from snellen.testing import check_method

WORLD = Slides(count=4, tiles_across=6, tile_size=32, positive_rate=0.4, seed=3)
BAGS = join([WORLD.images(split="train"), WORLD.images(split="val")])
SMALL: dict[str, Any] = {"encoder": "bundled:fashion-cnn", "width": 8}
INS = MultipleInstanceLearning(**SMALL, warmup_epochs=1, bags_from=2, queue=16, projection=4, plan={"epochs": 4})


def fitted(recipe: MultipleInstanceLearning | BagPooling, data: ImageSet = BAGS, **given: Any) -> Artifact:
    return recipe.fit(data, rng=Randomness(5), **given)


@pytest.fixture(scope="module")
def trained() -> Artifact:
    return fitted(INS)


@pytest.mark.parametrize("name", ["multiple_instance_learning", "bag_pooling"])
def test_recipes_conform(name: str) -> None:
    check_method(entry("recipes", name))


def test_the_artifact_holds_the_head_and_is_an_ordinary_classifier(trained: Artifact, tmp_path: Path) -> None:
    assert {name.split(".")[0] for name in trained.tensors} == {"head"}
    trained.save(tmp_path / "made")
    classifier = load_classifier(f"artifact:{tmp_path / 'made'}")
    assert classifier.class_names == ("healthy", "tumour")
    assert classifier.bag_decision == trained.card.bag_decision
    tiles = WORLD.images(split="val")
    prepared = torch.stack([classifier.prepare(tiles.read(row)) for row in range(6)])
    scores, features = classifier.scores_and_features(prepared)
    assert (scores.shape, features.shape) == ((6, 2), (6, 8))
    prepared.requires_grad_(True)
    (gradient,) = torch.autograd.grad(classifier(prepared)[:, 1].sum(), prepared)
    assert bool(gradient.abs().sum() > 0)


@pytest.mark.covers("36.12")
def test_the_card_decides_about_bags_as_the_val_split_chose(trained: Artifact, tmp_path: Path) -> None:
    trained.save(tmp_path / "made")
    classifier = load_classifier(f"artifact:{tmp_path / 'made'}")
    tiles = WORLD.images(split="val")
    with torch.no_grad():
        scores = classifier(torch.stack([classifier.prepare(tiles.read(row)) for row in range(len(tiles))]))
    bags = list(dict.fromkeys(tiles.column("bag_id")))
    of_bag = np.array([bags.index(bag) for bag in tiles.column("bag_id")])
    decision = trained.card.bag_decision
    positive = pooled(scores.softmax(1)[:, 1].numpy(), of_bag, len(bags), pooling=decision["pooling"])
    truth = np.array([WORLD.slide_labels(split="val")[str(bag)] for bag in bags])
    gained = [(positive[truth == 1] >= cut).mean() - (positive[truth == 0] >= cut).mean() for cut in positive]
    called = positive >= decision["threshold"]
    assert called[truth == 1].mean() - called[truth == 0].mean() == pytest.approx(max(gained))
    figures = trained.card.metrics
    assert figures["val.bag_auroc"] == figures[f"val.bag_auroc.{decision['pooling']}"]


@pytest.mark.covers("36.10")
def test_labels_of_instances_change_nothing(trained: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = np.random.default_rng(0).permutation(BAGS.labels)
    column = BAGS.table.column_names.index("label")
    shuffled = replace(BAGS, table=BAGS.table.set_column(column, "label", pa.array(wrong, COLUMNS["label"])))
    without = replace(BAGS, table=BAGS.table.drop_columns(["label"]))
    for data in (shuffled, without):
        again = fitted(INS, data)
        assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in trained.tensors.items())
        assert again.card.history == trained.card.history
    seen: list[ImageSet] = []
    of = BagInstances.of
    monkeypatch.setattr(
        BagInstances, "of", lambda images, *rest, **named: seen.append(images) or of(images, *rest, **named)
    )
    fitted(INS)
    assert len(seen) == 2
    for images in seen:
        with pytest.raises(LabelsHiddenError):
            _ = images.labels


def test_the_same_seed_gives_the_same_and_another_does_not(trained: Artifact, tmp_path: Path) -> None:
    kept = fitted(INS.model_copy(update={"keep": tmp_path / "vectors"}))
    assert all(torch.equal(tensor, kept.tensors[name]) for name, tensor in trained.tensors.items())
    assert {path.name for path in (tmp_path / "vectors").iterdir()} == {"train", "val"}
    other = INS.fit(BAGS, rng=Randomness(6))
    assert not torch.equal(trained.tensors["head.scores.weight"], other.tensors["head.scores.weight"])


def test_another_encoder_under_the_same_name_is_refused(trained: Artifact, tmp_path: Path) -> None:
    trained.save(tmp_path / "made")
    card = json.loads((tmp_path / "made" / "card.json").read_text())
    card["architecture"]["identity"] = "0" * 64
    (tmp_path / "made" / "card.json").write_text(json.dumps(card))
    with pytest.raises(
        InputError, match="bundled:fashion-cnn is another encoder than the one that this head was trained"
    ):
        load_classifier(f"artifact:{tmp_path / 'made'}")


@pytest.mark.parametrize("aggregator", get_args(Aggregator))
def test_every_rival_trains_and_loads(aggregator: Aggregator, tmp_path: Path) -> None:
    made = fitted(BagPooling(**SMALL, aggregator=aggregator, plan={"epochs": 1}))
    made.save(tmp_path / "made")
    classifier = load_classifier(f"artifact:{tmp_path / 'made'}")
    assert classifier(torch.rand(3, 3, 28, 28)).shape == (3, 2)
    told = made.card.bag_decision.get("pooling")
    assert told in {"copied_labels": ("mean", "max", "log_sum_exp"), "mean": ("mean",), "max": ("max",)}.get(
        aggregator, (None,)
    )
    assert made.card.architecture["head"] == HEADS[aggregator]["head"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: replace(data, class_names=("a", "b", "c")),
            "needs two classes, negative and positive, and .* has 3",
        ),
        (lambda data: replace(data, table=data.table.drop_columns(["bag_id"])), "needs bags"),
        (
            lambda data: replace(data, table=data.table.drop_columns(["bag_label"])),
            "has no label; fill its column bag_label",
        ),
        (lambda data: WORLD.images(split="test"), "holds test images"),
    ],
)
def test_what_cannot_be_trained_on(change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fitted(INS, change(BAGS))


def test_settings_that_cannot_work_are_reported_before_images_are_read(trained: Artifact) -> None:
    assert "take 21 of 20 epochs" in str(MultipleInstanceLearning(plan={"epochs": 20}).missing())
    assert "needs a width that 8 divides" in str(BagPooling(aggregator="transformer", width=12).missing())
    for recipe in (INS, BagPooling(**SMALL)):
        with pytest.raises(InputError, match="takes no base"):
            fitted(recipe, base=trained)


def test_an_encoder_that_takes_no_images_of_a_size_says_so() -> None:
    with pytest.raises(InputError, match="takes no images of 16 × 16 pixels"):
        fitted(INS.model_copy(update={"encoder": "bundled:scene-clip", "encoder_side": 16}))


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="one process, and 2 were started"):
        fitted(INS)
