"""Experiment of system 36: bags at each share of positives, nothing shared between splits, and the smoke run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Split
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.data.files.arrays import load_arrays
from snellen.data.files.bundled import FASHION_CLASSES
from snellen.data.files.whole_slides.loading import load_slides
from snellen.data.files.whole_slides.tiling import Tiling
from snellen.data.worlds.slides.slides import Slides
from snellen.data.worlds.slides.writing import write_slide
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.reproduction.multiple_instance import experiment as study
from snellen.reproduction.multiple_instance import full as published
from snellen.reproduction.multiple_instance import materials, ways
from snellen.reproduction.multiple_instance.experiment import multiple_instance
from snellen.reproduction.multiple_instance.materials import RATES, Material, Sizes, garment_bags, slide_bags, task_at
from snellen.reproduction.multiple_instance.tile_network import TileNetwork
from snellen.reproduction.multiple_instance.view_bank import BankEncoder
from snellen.reproduction.multiple_instance.ways import ABLATIONS, FROZEN, RIVALS, WITHOUT_VIEWS, Budget, Way, measured
from snellen.systems.multiple_instance.feature_views import Views
from snellen.systems.multiple_instance.image_instances import ImageEncoder

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
    return Material(images, torch.arange(len(images), dtype=torch.float32)[:, None], SIZES.shown)


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


def test_a_material_holds_the_pixels_of_its_images(garments: None) -> None:
    images = garment_bags("train", SIZES, seed=3)
    one = materials.material(images, SIZES, Silent(), side=8)
    assert one.pixels.dtype == torch.uint8
    assert one.pixels.shape == (len(images), 3 * 8 * 8)
    bags, _ = one.at(0.5)
    assert float(bags.read(torch.arange(2)).max()) <= 1


def test_too_few_images_of_a_class_are_an_error(garments: None) -> None:
    with pytest.raises(InputError, match="instances of class"):
        garment_bags("train", replace(SIZES, train=400), seed=3)


def test_every_way_is_trained_on_each_instance_as_often() -> None:
    settings, plan = study.SMALL.settings, study.SMALL.instance_plan
    # All instances in each epoch; whole bags count besides.
    looks = plan.epochs + (plan.epochs - settings.bags_from + 1)
    assert settings.warmup_on == "all"
    assert settings.bags_from > settings.pretraining_epochs
    assert study.SMALL.label_plan.epochs == study.SMALL.bag_plan.epochs == looks
    plans = (plan, study.SMALL.label_plan, study.SMALL.bag_plan)
    assert len({(one.optimizer, one.weight_decay, one.momentum, one.schedule) for one in plans}) == 1


def test_every_way_sees_the_same_views_and_trains_the_encoder_or_leaves_it(garments: None) -> None:
    task = task_at(0.5, {split: pixels(garment_bags(split, SIZES, seed=3)) for split in SPLITS})
    shown = dict.fromkeys((*RIVALS, "ins", WITHOUT_VIEWS, *FROZEN), 0)
    for way in shown:

        def view(rows: torch.Tensor, rng: Randomness, name: str, way: str = way) -> torch.Tensor:
            shown[way] += len(rows)
            assert rows.shape[1:] == (3 * 8 * 8,)
            assert float(rows.max()) <= 1
            return rows

        encoders: list[nn.Module] = []
        measured(way, task, tiny(view, encoders), Randomness(0), Silent())
        (encoder,) = encoders
        trained = encoder.network[1].weight  # type: ignore[index,union-attr]
        assert torch.equal(trained, initial_layer().weight) == (way in FROZEN)
    instances = len(task.instances)
    assert all(shown[way] == instances for way in (*RIVALS, "oracle_frozen"))
    assert shown["ins"] == shown["ins_frozen"] > instances
    assert shown[WITHOUT_VIEWS] == 0


def initial_layer() -> nn.Conv2d:
    torch.manual_seed(5)
    return nn.Conv2d(3, 8, 3)


def tiny(view: Views, encoders: list[nn.Module]) -> Budget:
    """The smoke budget with an encoder of images of 8 pixels, which is kept in ``encoders``."""

    def encoder() -> nn.Module:
        with torch.random.fork_rng():
            layer = initial_layer()
        mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        encoders.append(ImageEncoder(nn.Sequential(nn.Identity(), layer, *mean), 8))
        return encoders[-1]

    return replace(study.SMOKE, width=8, views=view, encoder=encoder)


def pixels(images: ImageSet) -> Material:
    """A material of noise."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (len(images), 3 * 8 * 8), generator=generator, dtype=torch.uint8)
    return Material(images, noise, SIZES.shown)


def test_smoke_runs_every_way() -> None:
    pytest.importorskip("openslide")
    figures = multiple_instance("smoke", 0, Silent())
    ways = {name.split(".")[1] for name in figures}
    assert ways == {"ins", "oracle", WITHOUT_VIEWS, *ABLATIONS, *RIVALS}
    assert all(np.isfinite(value) for value in figures.values())
    assert figures["smoke.ins.highest_target"] > 0.5  # pseudo labels have moved


def test_full_says_what_it_lacks() -> None:
    with pytest.raises(InputError, match=r"SNELLEN_INS_CIFAR10.*SNELLEN_INS_CAMELYON16.*SNELLEN_INS_WEIGHTS"):
        multiple_instance("full", 0, Silent())


def test_the_full_experiment_on_a_resnet_and_on_slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNet-18 of random weights on 32 pixels, bags of five; four training slides and two test slides."""
    pytest.importorskip("openslide")
    pytest.importorskip("torchvision")
    labels = np.arange(36) % 4
    noise = np.random.default_rng(0).integers(0, 256, (36, 32, 32, 3), dtype=np.uint8)
    cifar = load_arrays(noise, labels, class_names=("cat", "dog", "ship", "truck"), name="cifar")
    splits = pa.array(["train"] * 24 + ["test"] * 12, COLUMNS["split"])
    cifar = replace(cifar, table=cifar.table.append_column("split", splits))
    encoder = FrozenEncoder(
        name="means",
        network=nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        preparation=Preprocessing(size=(32, 32)),
    )
    named = {"images": cifar, "tiles": slides_on_disk(tmp_path)}
    monkeypatch.setattr(published, "load_images", lambda name: named[name])
    monkeypatch.setattr(published, "load_encoder", lambda *_, **__: encoder)
    for name, value in zip(
        (published.CIFAR, published.CAMELYON, published.ENCODER, published.FOLDER),
        ("images", "tiles", "means", str(tmp_path / "vectors")),
        strict=True,
    ):
        monkeypatch.setenv(name, value)
    short = {"settings": study.SMOKE.settings, "rates": (0.01,)} | {
        plan: getattr(study.SMOKE, plan) for plan in ("instance_plan", "label_plan", "bag_plan")
    }
    learning = short["label_plan"].model_copy(update={"epochs": 10, "learning_rate": 0.05})
    short["instance_plan"] = short["instance_plan"].model_copy(update={"epochs": 3})
    figures = published.full(
        0,
        Silent(),
        cifar=replace(published.cifar_budget(), **short),
        camelyon=replace(published.camelyon_budget(), width=16, **(short | {"label_plan": learning})),
        shares=(0.2,),
        shown=5,
    )
    wanted = {
        name
        for claim in find_system("36").claims
        if "full" in claim.scales
        for name in (claim.metric, claim.baseline, *claim.controls)
    }
    renamed = {name.replace("cifar.20.", f"cifar.{share}.") for name in figures for share in (5, 10, 70)}
    wanted |= {gate.metric for gate in find_system("36").gates if "full" in gate.scales}
    assert wanted - {None} <= renamed
    # Mean colours of a tile tell what it is, so a head that is trained on the truth ranks test tiles.
    assert figures["camelyon.oracle.instance_auroc"] > 0.6


def slides_on_disk(folder: Path) -> ImageSet:
    """Two slides of each label to train on, and one of each to test on."""
    world = Slides(tiles_across=6, tile_size=32, positive_rate=0.5, count=12, seed=1)
    for label, name in ((0, "normal"), (1, "tumor")):
        numbers = [one for one in range(world.count) if world.slide(one, split="train").label == label][:3]
        for place, number in enumerate(numbers):
            path = folder / ("testing" if place == 2 else "training") / name / f"{name}_{place}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_slide(world.slide(number, split="train"), path)
    return load_slides(folder, Tiling(tile=32, mpp=1.0), class_names=("normal", "tumor"))


def test_the_claims_name_figures_that_there_are(monkeypatch: pytest.MonkeyPatch, garments: None) -> None:
    """The small experiment on few bags, without a start and without trainings."""
    monkeypatch.setattr(study, "SIZES", SIZES)
    monkeypatch.setattr(study, "material", lambda images, *_: held(images))
    monkeypatch.setattr(study, "begun", lambda held, *_: (study.SMALL, held))
    asked: dict[str, set[tuple[float, ...]]] = {}

    def reported(way: str, *_: object, rates: tuple[float, ...]) -> dict[str, float]:
        asked.setdefault(way, set()).add(rates)
        further = ("positive_share", "bags_with_positive", "highest_target") if way in ("ins", *ABLATIONS) else ()
        area = 0.75 if way == "oracle" else 0.5
        return {"learning_rate": rates[0]} | dict.fromkeys(("instance_auroc", "bag_auroc", *further), area)

    monkeypatch.setattr(study, "measured", reported)
    figures = multiple_instance("small", 0, Silent())
    for claim in find_system("36").claims:
        if "small" not in claim.scales:
            continue
        assert {claim.metric, *claim.controls} <= set(figures)
        assert claim.baseline is None or claim.baseline in figures
    assert {gate.metric for gate in find_system("36").gates if "small" in gate.scales} <= set(figures)
    assert figures["10.oracle_gain"] == 0.25
    assert figures["slides.10.max.learning_rate"] == study.LEARNING_RATES["max"]
    assert "10.max.learning_rate" not in figures
    assert set(asked) == {way for ways in study.AT_RATE.values() for way in ways}
    assert all(asked[way] == asked["ins"] for way in ABLATIONS)
    assert asked[WITHOUT_VIEWS] == asked["copied_labels"]


def test_every_way_begins_from_a_copy_of_one_network_and_finds_its_images_in_the_bank(
    monkeypatch: pytest.MonkeyPatch, garments: None
) -> None:
    network = TileNetwork()
    monkeypatch.setattr(study, "taught_network", lambda *_: network)
    monkeypatch.setattr(study, "VIEWS", {"weak": 1, "strong": 1})
    few = {split: materials.material(garment_bags(split, SIZES, seed=3), SIZES, Silent()) for split in SPLITS}
    budget, numbered = study.begun(few, Randomness(0), Silent())
    assert budget.encoder is not None
    first, second = budget.encoder(), budget.encoder()
    assert isinstance(first, BankEncoder)
    assert isinstance(second, BankEncoder)
    assert first.bank is second.bank
    assert first.encoder.network is not second.encoder.network
    for split, one in few.items():
        assert torch.equal(first.bank.images(numbered[split].pixels), one.pixels / 255)
        assert torch.equal(first(numbered[split].pixels[:3]), network(one.pixels[:3].reshape(-1, 3, 32, 32) / 255))
    assert len(first.bank.drawn["weak"]) == len(few["train"].pixels)  # of no other split


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
