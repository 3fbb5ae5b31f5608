"""System 31: every stage runs with the real shapes, and all ways of training start alike."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from snellen.core.classifier import Classifier, hash_tensors
from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.data.files.arrays import load_arrays
from snellen.data.files.splits import as_split
from snellen.reproduction.adversarial_mixup import experiment as module
from snellen.reproduction.adversarial_mixup import mixing_figures
from snellen.reproduction.adversarial_mixup.mixing_figures import KINDS, Examined, MaskWatch, covered_by_patches
from snellen.reproduction.runner import reproduce
from snellen.reproduction.sample import Figure, Sample, mean_of
from snellen.reproduction.shared.three_stage_network import FEATURE_LAYER, ThreeStageNetwork
from snellen.systems.adversarial_mixup.adversarial_mixing import AdversarialMixing, MixSettings
from snellen.systems.adversarial_mixup.automix import AutoMix
from snellen.systems.adversarial_mixup.mask_generator import MaskGenerator
from snellen.training.batches import ImageStore

WAYS = ("none", "mixup", "cutmix", "saliency_mix", "automix", "adversarial", "adversarial_intent", "adversarial_three")


class Watched:
    """Every training: plan, and hash of the weights that it starts from; maps that masks are made of; figures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trainings: list[tuple[Any, str, Any]] = []
        self.maps: list[tuple[int, ...]] = []
        self.figures: list[Mapping[str, Figure]] = []
        train, project, experiment = module.train, MaskGenerator.project, module.adversarial_mixup

        def trained(network, examples, **options):
            classifier = network.online.network if isinstance(network, AdversarialMixing) else network
            self.trainings.append((options["plan"], hash_tensors(dict(classifier.state_dict())), examples))
            return train(network, examples, **options)

        def projected(generator, maps):
            self.maps.append(tuple(maps.shape[1:]))
            return project(generator, maps)

        @functools.wraps(experiment)
        def experimented(scale, seed, progress):
            self.figures.append(experiment(scale, seed, progress))
            return self.figures[-1]

        monkeypatch.setattr(module, "train", trained)
        monkeypatch.setattr(MaskGenerator, "project", projected)
        monkeypatch.setattr(module, "adversarial_mixup", experimented)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def named_by_claims() -> set[str]:
    system = find_system("31")
    claims = [claim for claim in system.claims if "small" in claim.scales]
    named = {name for claim in claims for name in (claim.metric, claim.baseline, *claim.controls) if name}
    return named | {gate.metric for gate in system.gates}


def of_means(names: set[str]) -> set[str]:
    """Without the figures of single sets, which have the names of the small scale."""
    return {name for name in names if not name.startswith(("fashion.", "scenes."))}


@pytest.mark.covers("31.12")
@pytest.mark.usefixtures("short_resnet")
def test_smoke_runs_every_stage_with_the_real_shapes(watched: Watched) -> None:
    result = reproduce("31", scale="smoke", seeds=1)
    assert result.stand_ins
    assert result.claims == ()
    (figures,) = watched.figures
    assert of_means(named_by_claims()) <= set(figures)
    assert all(np.isfinite(mean_of(value)) for value in figures.values())
    assert {name.split(".")[0] for name in figures} == {*WAYS, "random"}
    assert set(watched.maps) == {(256, 8, 8)}, "as a ResNet-18 for CIFAR-100 has them"
    assert len(watched.trainings) == len(WAYS)
    plans = [plan.model_dump(exclude={"ema_decay"}) for plan, _, _ in watched.trainings]
    assert all(plan == plans[0] for plan in plans), "equal epochs, batches, rates and seeds"
    assert len({start for _, start, _ in watched.trainings}) == 1, "the same weights at the start"
    assert len({id(examples) for _, _, examples in watched.trainings}) == 1
    assert [plan.ema_decay for plan, _, _ in watched.trainings] == [module.MOMENTUM] * 4 + [None] * 4
    assert figures["none.mce"] == figures["none.step_cost"] == 1
    assert not any(settings.knows_shares for settings in module.GENERATORS.values())
    weights = {name: settings.area_weight for name, settings in module.GENERATORS.items()}
    assert weights == {"automix": 0.1, "adversarial": 0.0, "adversarial_intent": 0.0, "adversarial_three": 0.0}
    assert weights["automix"] == AutoMix().area_weight, "the rival as published, and as its recipe has it"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    def known(name: str, *, split: Split) -> ImageSet:
        labels = np.arange(40) % 3
        pixels = np.random.default_rng(0).integers(0, 90, (40, 28, 28)) + 60 * labels[:, None, None]
        return as_split(load_arrays(pixels.astype(np.uint8), labels, class_names=["a", "b", "c"], name=name), split)

    monkeypatch.setattr(module, "load_known", known)
    monkeypatch.setattr(module, "SMALL_SIZES", (24, 12))
    monkeypatch.setattr(module, "SMALL_CORRUPTED", 2)
    monkeypatch.setattr(module, "FEW_SCENES", 24)
    monkeypatch.setattr(module, "SCENE_EPOCHS", 2)
    shorter = {"epochs": 2, "batch_size": 12, "warmup_steps": 1}
    monkeypatch.setattr(module, "SMALL_PLAN", module.SMALL_PLAN.model_copy(update=shorter))


def test_small_gives_what_the_claims_name(tiny: None, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: way for name, way in module.SMALL_GENERATORS.items() if name != "adversarial_official"}
    monkeypatch.setattr(module, "SMALL_GENERATORS", few)
    figures = module.adversarial_mixup("small", 0, Silent())
    named = {name for name in named_by_claims() if "official" not in name}
    assert named <= set(figures)
    for name in ("adversarial.accuracy", "none.fgsm_2_error", "automix.occluded_accuracy"):
        joined, parts = figures[name], [figures[f"{of}.{name}"] for of in ("fashion", "scenes")]
        assert isinstance(joined, Sample)
        assert joined.values == tuple(value for part in parts for value in part.values), "image by image"  # type: ignore[union-attr]
    for name in ("none.ece", "automix.mask_diversity"):
        assert figures[name] == pytest.approx((figures[f"fashion.{name}"] + figures[f"scenes.{name}"]) / 2)  # type: ignore[operator]
    assert mean_of(figures["adversarial.accuracy"]) == pytest.approx(figures["adversarial.accuracy.teacher_plain"])
    assert set(watched.maps) == {(32, 8, 8)}
    assert 0 < figures["adversarial.mask_share_gap"] < 1  # type: ignore[operator]
    assert figures["adversarial.skipped"] == 0
    assert -1 < figures["none.gap"] < 1  # type: ignore[operator]


def test_every_claim_about_masks_asks_of_each_set_that_they_vary() -> None:
    system = find_system("31")
    gates = {gate.id: gate.metric for gate in system.gates}
    for claim in (claim for claim in system.claims if "small" in claim.scales):
        spreads = {gates[gate] for gate in claim.gates if gates[gate].endswith("mask_spread")}
        named = [name.split(".") for name in (claim.metric, claim.baseline or "")]
        ways = {"adversarial", "automix"} & {part for parts in named for part in parts}
        sets = {parts[0] for parts in named if parts[0] == "fashion"} or {"fashion", "scenes"}
        assert spreads == {f"{of}.{way}.mask_spread" for of in sets for way in ways}, claim.id


def test_generators_of_the_small_experiment_differ_in_one_thing() -> None:
    small = module.SMALL_GENERATORS
    for settings in small.values():
        assert settings.knows_shares
        assert settings.area_weight > 0
        assert settings.attention_gain is not None
        assert settings.parts == 2
    main = small["adversarial"]
    assert main.cosine_sign == "intent"
    assert small["adversarial_official"] == main.model_copy(update={"cosine_sign": "official"})
    assert small["automix"] == main.model_copy(update={"adversarial": False, "beta": 0.0})


def test_a_stronger_attack_errs_more_and_training_images_are_scored() -> None:
    labels = np.arange(24) % 3
    pixels = (np.random.default_rng(0).integers(0, 60, (24, 32, 32, 3)) + 60 * labels[:, None, None, None]).astype("u1")
    images = as_split(load_arrays(pixels, labels, class_names=["a", "b", "c"], name="grey"), "test")
    store = ImageStore.of_tensors(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ThreeStageNetwork(3, widths=(4, 6, 8))
    plan = module.SMALL_PLAN.model_copy(update={"epochs": 40, "batch_size": 12, "warmup_steps": 8})
    trained = module.train(network, store, plan=plan)
    network.load_state_dict(dict(trained.weights))
    classifier = Classifier(network, class_names=("a", "b", "c"), preparation=module.preparation(store), name="grey")
    figures, _ = mixing_figures.tested(classifier, Examined(images, 1, kinds=("fog",), covered=(0.5,)), Randomness(0))
    right, small, large = (mean_of(figures[name]) for name in ("accuracy", "fgsm_2_error", "fgsm_8_error"))
    assert module.training_accuracy(classifier, store) == right > 0.9  # type: ignore[operator]
    assert 1 - right <= small <= large  # type: ignore[operator]


def test_the_full_scale_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.TRAIN, raising=False)
    monkeypatch.setenv(module.TEST, "bundled:fashion-mnist")
    with pytest.raises(InputError, match=f"the full experiment needs {module.TRAIN}: references"):
        module.adversarial_mixup("full", 0, Silent())


@pytest.mark.usefixtures("short_resnet")
def test_the_full_scale_reads_named_images_and_gives_what_its_claims_name(
    tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    for name, count in (("train", 6), ("test", 2)):
        for row in range(count):
            folder = tmp_path / name / "ab"[row % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (40, 32, 3), dtype=np.uint8)).save(folder / f"{row}.png")
    monkeypatch.setenv(module.TRAIN, str(tmp_path / "train"))
    monkeypatch.setenv(module.TEST, str(tmp_path / "test"))
    monkeypatch.setattr(module, "FULL_PLAN", module.FULL_PLAN.model_copy(update={"epochs": 1, "batch_size": 3}))
    monkeypatch.setattr(module, "FULL_CORRUPTED", 1)
    figures = module.adversarial_mixup("full", 0, Silent())
    claims = [claim for claim in find_system("31").claims if "full" in claim.scales]
    assert len(claims) == 3
    assert {name for one in claims for name in (one.metric, one.baseline, *one.controls)} <= set(figures)
    assert set(watched.maps) == {(256, 8, 8)}, "as a ResNet-18 for CIFAR-100 has them"
    assert {plan.optimizer for plan, _, _ in watched.trainings} == {"sgd"}
    (tmp_path / "test" / "c").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "test" / "c" / "more.png")
    with pytest.raises(InputError, match=r"has the classes \('a', 'b', 'c'\)"):
        module.adversarial_mixup("full", 0, Silent())


def test_stated_sizes() -> None:
    assert (module.SMALL_SIZES, module.SMALL_CORRUPTED, module.SMALL_PLAN.epochs) == ((2000, 1000), 200, 24)
    assert (module.FEW_SCENES, module.SCENE_EPOCHS) == (500, 48)
    assert len(KINDS) == 4
    weights = sum(parameter.numel() for parameter in ThreeStageNetwork(10).parameters())
    assert any(f"{weights:,}" in told for told in module.adversarial_mixup.stand_ins["small"])  # type: ignore[attr-defined]


# -- measures ----------------------------------------------------------------------------------------------------------


def test_patches_cover_the_share_that_is_requested_and_grow() -> None:
    rng, images = Randomness(0).bind(3), torch.ones(3, 3, 32, 30)
    before = torch.zeros(3, 32, 30, dtype=torch.bool)
    for share in (0.0, 0.25, 0.5, 1.0):
        covered = covered_by_patches(images, share, rng)
        dark = (covered == 0).all(1)
        assert bool((dark | ~before).all()), "more is covered, and nothing is uncovered"
        patches = covered[:, 0, ::4, ::4]
        assert torch.equal((patches == 0).sum((1, 2)), torch.full((3,), round(share * 64)))
        before = dark
    half = covered_by_patches(images, 0.5, rng)
    assert torch.equal(half[1:2], covered_by_patches(images[1:2], 0.5, rng[[1]])), "an image's own patches"
    assert not torch.equal(half[0], half[1])


def test_the_watch_looks_at_the_same_blends_after_each_epoch() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = AdversarialMixing(
            ThreeStageNetwork(3, widths=(4, 6, 8)),
            3,
            settings=MixSettings(),
            feature_layer=FEATURE_LAYER,
            total_steps=2,
            size=(16, 16),
        ).eval()
    pixels = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    store, watch = ImageStore.of_tensors(pixels, torch.arange(5) % 3), MaskWatch(2)
    assert [watch(made, store)["epoch"] for _ in range(2)] == [1, 2]
    assert watch.figures()["mask_diversity"] == 0, "nothing was learnt between"
    with torch.no_grad():
        made.generator.value.weight.mul_(-500.0)
    watch(made, store)
    first, _, last = watch.masks
    distance: Tensor = (first - last).abs().mean()
    assert float(distance) > 1e-3
    figures = watch.figures()
    assert figures["mask_diversity"] == pytest.approx(2 * float(distance) / 3)
    assert figures["mask_share_gap"] == watch.gaps[-1]
    watch.masks[:] = [torch.arange(4.0).reshape(1, 1, 2, 2)]
    assert watch.figures()["mask_spread"] == pytest.approx((5 / 3) ** 0.5)
