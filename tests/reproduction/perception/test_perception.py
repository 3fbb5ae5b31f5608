"""The experiment of system 20: reduced sets, arms that differ in their images alone, figures of orbits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from snellen.core.classifier import hash_tensors
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.reproduction.judge import judge_claim
from snellen.reproduction.perception import experiment as study
from snellen.reproduction.perception.digits import Digits, digits
from snellen.reproduction.perception.experiment import SMOKE, _settled, _wrong_memory, perception
from snellen.reproduction.perception.measure import NearestImage
from snellen.reproduction.sample import Sample, mean_of
from snellen.systems.perception.attractors import EXACT
from snellen.systems.perception.autoencoder import build
from snellen.systems.perception.perceptualized import as_shown
from snellen.training.batches import ImageStore


@pytest.fixture(scope="module")
def drawn() -> Digits:
    return digits("digits", per_class=3, test=40, val=10, side=8, seed=5)


def test_a_reduced_set_has_so_many_of_each_class_and_shares_nothing_with_the_test(drawn: Digits) -> None:
    assert torch.bincount(drawn.train.targets).tolist() == [3] * 10
    assert drawn.test_images.shape == (40, 1, 8, 8)
    assert drawn.train.images.shape == (30, 1, 8, 8)
    assert torch.cdist(drawn.train.images.flatten(1), drawn.test_images.flatten(1), compute_mode=EXACT).min() > 0
    for other in (drawn.train.images, drawn.test_images):
        assert torch.cdist(drawn.val.images.flatten(1), other.flatten(1), compute_mode=EXACT).min() > 0
    assert 0 <= drawn.test_images.min() < drawn.test_images.max() <= 1
    larger = digits("digits", per_class=5, test=40, val=10, side=8, seed=5)
    assert (
        torch.cdist(larger.train.images.flatten(1), drawn.train.images.flatten(1), compute_mode=EXACT).amin(0).max()
        == 0
    )
    other = digits("digits", per_class=3, test=40, val=10, side=8, seed=6)
    assert not torch.equal(other.train.images, drawn.train.images)


class Run(NamedTuple):
    """A smoke run of seed 3: its figures, and what each of its trainings began with."""

    found: Mapping[str, object]
    started: list[str]
    seeds: list[int]
    learnt: list[ImageStore]


@pytest.fixture(scope="module")
def run() -> Run:
    started, seeds, learnt = list[str](), list[int](), list[ImageStore]()
    real = study.train

    def watched(network, examples, **options):
        started.append(hash_tensors(dict(network.state_dict())))
        seeds.append(options["plan"].seed)
        learnt.append(examples)
        return real(network, examples, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "train", watched)
        return Run(perception("smoke", 3, Silent()), started, seeds, learnt)


@pytest.mark.covers("20.6")
def test_arms_have_the_same_first_weights_order_and_test_images(run: Run) -> None:
    found, started, seeds, learnt = run
    arms = ("raw", "augmented", "vanilla", "stochastic")
    assert len(started) == len(arms)
    assert len(set(started)) == len(set(seeds)) == 1
    assert all(torch.equal(one.targets, learnt[0].targets) for one in learnt)
    claims = [claim for claim in find_system("20").claims if "small" in claim.scales]
    smoke = {name.split(".", 1)[1] for name in found}
    named = {name for claim in claims for name in (claim.metric, claim.baseline, *claim.controls) if name}
    assert {name.split(".", 1)[1] for name in named} <= smoke
    assert all(0 <= mean_of(found[f"r2.{arm}{how}"]) <= 1 for arm in arms for how in ("", "_chosen"))
    assert all(len(found[f"r2.{arm}"].values) == SMOKE.test for arm in arms)


@pytest.mark.covers("20.3", "20.6")
def test_each_arm_learns_and_is_queried_the_same_images_in_its_own_form(
    drawn: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []
    made: list[ImageStore] = []
    real = study.perceived

    def seen(*given: object) -> ImageStore:
        made.append(real(*given))  # type: ignore[arg-type]
        return made[-1]

    def judged(
        learnt: ImageStore, shown: torch.Tensor, labels: torch.Tensor, *_: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert torch.equal(labels, drawn.test_labels)
        asked.append((learnt.images, shown))
        return torch.zeros(len(labels)), torch.zeros(len(labels))

    monkeypatch.setattr(study, "perceived", seen)
    monkeypatch.setattr(study, "_right", judged)
    study._reduced_set(drawn, SMOKE, 1, Randomness(0), Silent())
    plain = tuple(as_shown(images) for images in (drawn.train.images, drawn.test_images))
    vanilla, stochastic = ((train.images, test.images) for train, test in (made[:2], made[3:5]))
    for found, expected in zip(asked, (vanilla, stochastic, plain, plain), strict=True):
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
    for form in (vanilla, stochastic):
        assert (form[0] - plain[0]).abs().max() > 1e-2
        assert (form[1] - plain[1]).abs().max() > 1e-2


def test_the_full_scale_goes_through_its_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image through the published autoencoder; all stages with a narrow one, few images, copies and steps."""
    full = study.FULL
    assert (full.side, full.autoencoder, full.per_class, full.copies) == (
        28,
        ("convolution", 256),
        {8: 10, 20: 10},
        1000,
    )
    kind, width = full.autoencoder
    published = build(kind=kind, width=width, side=full.side, channels=1)
    assert published(torch.rand(1, 1, 28, 28)).shape == (1, 1, 28, 28)
    shorter = replace(
        full,
        autoencoder=(kind, 4),
        per_class={8: 1, 20: 1},
        test=2,
        val=2,
        memory=full.memory.model_copy(update={"epochs": 1, "batch_size": 200}),
        copies=2,
        steps=1,
        vanilla_steps=2,
        classifier=full.classifier.model_copy(update={"epochs": 1}),
    )
    real = study.digits
    monkeypatch.setattr(study, "FULL", shorter)
    monkeypatch.setattr(study, "digits", lambda name, **sizes: real("digits", **{**sizes, "per_class": 2}))
    found = perception("full", 0, Silent())
    claims = [claim for claim in find_system("20").claims if "full" in claim.scales]
    assert len(claims) == 3
    assert {name for one in claims for name in (one.metric, one.baseline, *one.controls)} <= set(found)


@pytest.mark.covers("20.6")
def test_the_augmented_arm_sees_another_copy_in_every_epoch(drawn: Digits) -> None:
    plain = ImageStore.of_tensors(drawn.train.images[:2].expand(-1, 3, -1, -1), drawn.train.targets[:2])
    classifier = SMOKE.classifier.model_copy(update={"epochs": 3})
    bank = study._bank(plain, replace(SMOKE, classifier=classifier), Randomness(0))
    assert bank.shape == (2, 3, 3, 8, 8)
    flat = bank.flatten(2)
    assert all(torch.cdist(own, own).fill_diagonal_(9).min() > 1e-2 for own in flat)
    first, second = plain.images.flatten(1)
    assert (flat[0] - first).norm(dim=1).mean() < (flat[0] - second).norm(dim=1).mean()


def test_figures_differ_by_seed_and_not_by_run(run: Run) -> None:
    again, other = (perception("smoke", seed, Silent()) for seed in (3, 4))
    assert run.found == again
    assert run.found != other


@pytest.mark.covers("20.10")
def test_the_interval_covers_seeds_and_test_images() -> None:
    """Eight seeds of 400 images: the spread between seeds must show, and not that of the images alone."""
    claim = next(one for one in find_system("20").claims if one.id == "20.1").model_copy(update={"gates": ()})
    rng = np.random.default_rng(0)

    def runs(shifts: np.ndarray) -> list[dict[str, Sample]]:
        return [
            {
                "r8.stochastic_chosen": Sample.of(rng.random(400) < 0.75 + shift),
                "r8.raw_chosen": Sample.of(rng.random(400) < 0.7),
            }
            for shift in shifts
        ]

    alike, apart = (judge_claim(claim, runs(shifts)) for shifts in (np.zeros(8), np.linspace(-0.2, 0.2, 8)))
    for found in (alike, apart):
        assert found.low is not None
        assert found.high is not None
        assert found.low < 0.05 < found.high
    assert alike.verdict == "holds"
    assert apart.verdict == "undecided"
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


def test_the_validation_images_choose_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    store = ImageStore.of_tensors(images, torch.arange(6) % 2)
    told = iter((0.2, 0.9, 0.5))
    monkeypatch.setattr(study, "accuracy", lambda *_: {"accuracy": next(told)})
    longer = replace(SMOKE, classifier=SMOKE.classifier.model_copy(update={"epochs": 3, "learning_rate": 0.05}))
    last, chosen = study._right(store, images, store.targets, store, None, longer, Randomness(0))
    once = replace(SMOKE, classifier=SMOKE.classifier.model_copy(update={"epochs": 2, "learning_rate": 0.05}))
    monkeypatch.setattr(study, "accuracy", lambda *_: {"accuracy": 0.5})
    second, _ = study._right(store, images, store.targets, store, None, once, Randomness(0))
    assert torch.equal(chosen, second)
    assert last.shape == chosen.shape == (6,)


def test_settled_and_wrong_memories_are_counted(drawn: Digits) -> None:
    assert _settled(lambda x: x / 2, drawn.test_images, replace(SMOKE, vanilla_steps=30)) == 1.0
    assert _settled(lambda x: 2 * x, drawn.test_images, SMOKE) == 0.0
    own = Digits(drawn.train, drawn.train.images, drawn.train.targets, drawn.val)
    assert _wrong_memory(drawn.train.images, own) == 0.0
    shifted = Digits(drawn.train, drawn.train.images, (drawn.train.targets + 1) % 10, drawn.val)
    assert _wrong_memory(drawn.train.images, shifted) == 1.0


def test_an_ideal_memory_compares_shifted_images_and_recalls_them_as_they_were() -> None:
    remembered = torch.zeros(2, 1, 9, 9)
    remembered[0, 0, 2:4, 2:7] = 1.0
    remembered[1, 0, 4:7, 4:6] = 1.0
    moved = torch.roll(remembered[:1], (2, 1), (2, 3))
    near_the_other = torch.cdist(moved.flatten(1), remembered.flatten(1)).argmin(1)
    assert near_the_other.tolist() == [1]
    assert torch.equal(NearestImage(remembered, 0)(moved), remembered[1:])
    assert torch.equal(NearestImage(remembered, 2)(moved), remembered[:1])
    assert torch.equal(NearestImage(remembered, 2)(remembered), remembered)
