"""System 37: every stage runs with the real classes, and the figures that the claims name are there."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.methods.corruptions.benchmarks import MEDMNIST_C, benchmark
from snellen.methods.recipes.targeted_augmentation import PAPER_PLAN, TargetedAugmentation
from snellen.reproduction.medical_corruptions import experiment as module
from snellen.reproduction.medical_corruptions.experiment import medmnist_c
from snellen.reproduction.runner import reproduce
from snellen.reproduction.seed_file import named_figures
from snellen.reproduction.shared.fashion_mnist import FASHION_MNIST_VARIABLE
from snellen.training.plan import TrainingPlan


class Watched:
    """What was trained and tested, in order, and the figures of each seed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, str | None, frozenset[str]]] = []
        self.figures: list[Mapping[str, float]] = []
        self.architectures: list[Mapping[str, object]] = []
        fit, measure, experiment = TargetedAugmentation.fit, module.corruption_benchmark, module.medmnist_c

        def fitted(recipe, data, **options):
            artifact = fit(recipe, data, **options)
            record = artifact.card.lineage.recipe
            self.events.append(("fit", record["hold_out"], frozenset(record["kinds"])))
            self.architectures.append(artifact.card.architecture)
            return artifact

        def measured(classifier, images, **options):
            found = measure(classifier, images, **options)
            self.events.append(("test", None, frozenset(found.errors)))
            return found

        @functools.wraps(experiment)
        def experimented(scale, seed, progress):
            self.figures.append(experiment(scale, seed, progress))
            return self.figures[-1]

        monkeypatch.setattr(TargetedAugmentation, "fit", fitted)
        monkeypatch.setattr(module, "corruption_benchmark", measured)
        monkeypatch.setattr(module, "medmnist_c", experimented)

    def held_out(self) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
        """By family: kinds that were trained on, kinds that were tested right afterwards."""
        pairs = zip(self.events, self.events[1:], strict=False)
        return {
            fit[1]: (fit[2], test[2])
            for fit, test in pairs
            if (fit[0], test[0]) == ("fit", "test") and fit[1] is not None
        }


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def named_by_claims() -> set[str]:
    return set(named_figures(find_system("37"), "small"))


@pytest.fixture
def without_last_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNet-18 of timm without three quarters of its weights, which take time to draw, to step and to save."""
    timm = pytest.importorskip("timm")
    plain = timm.create_model

    def shorter(name: str, **options: object) -> nn.Module:
        network: nn.Module = plain(name, **options)
        network.layer4, network.fc = nn.Identity(), nn.Linear(256, network.num_classes)
        return network

    monkeypatch.setattr(timm, "create_model", shorter)


def test_smoke_runs_every_stage_with_the_real_classes(without_last_stage: None, watched: Watched) -> None:
    result = reproduce("37", scale="smoke", seeds=1)
    assert (result.number, result.claims) == (37, ())
    assert result.stand_ins
    (figures,) = watched.figures
    assert named_by_claims() <= set(figures)
    assert all(value is None or np.isfinite(value) for value in figures.values())
    assert all(0 <= value <= 1 for name, value in figures.items() if name.endswith((".error", "_error", "_auroc")))
    ways = {
        f"{way}.{kind}.error" for way in ("none", "randaugment", "targeted") for kind in benchmark("dermamnist").main
    }
    assert ways <= set(figures), "all kinds of dermamnist"
    assert "targeted.gamma_corr_up.error" in figures, "a kind that only the grey set has"
    assert {architecture["model"] for architecture in watched.architectures} == {"resnet18"}
    assert {architecture["class_count"] for architecture in watched.architectures} == {7, 14}
    assert len([event for event in watched.events if event[0] == "test"]) == 8


# -- small -------------------------------------------------------------------------------------------------------------


def write_idx(folder: Path, *, train: int, test: int) -> Path:
    """A folder like Fashion-MNIST's: ten classes of stripes."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        pixels = generator.integers(0, 120, (count, 28, 28)).astype(np.uint8)
        for row, label in enumerate(labels):
            pixels[row, 2 * label : 2 * label + 6] += 100
        for name, values in ((f"{part}-images-idx3-ubyte", pixels), (f"{part}-labels-idx1-ubyte", labels)):
            header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
            (folder / name).write_bytes(header + values.tobytes())
    return folder


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FASHION_MNIST_VARIABLE, str(write_idx(tmp_path / "fashion", train=80, test=30)))
    monkeypatch.setattr(module, "SMALL_SIZES", (40, 20, 12))
    monkeypatch.setattr(module, "SMALL_PLAN", TrainingPlan(epochs=1, batch_size=20))


@pytest.mark.covers("37.10")
def test_a_family_is_tested_on_a_model_that_never_saw_it(tiny: None, watched: Watched) -> None:
    figures = medmnist_c("small", 0, Silent())
    chosen = benchmark("dermamnist")
    found = watched.held_out()
    assert set(found) == set(chosen.families)
    for family, (trained, tested) in found.items():
        assert tested == set(chosen.families[family])
        assert not trained & tested
        assert trained | tested == set(chosen.main)
    errors = [figures[f"held_out.{family}.error"] for family in chosen.families]
    plain = [figures[f"none.{family}.error"] for family in chosen.families]
    assert figures["held_out.corrupted_error"] == pytest.approx(np.mean(errors))
    assert figures["none.family_error"] == pytest.approx(np.mean(plain))
    assert figures["held_out.families_improved"] == np.mean(np.array(errors) < np.array(plain))
    by_kind = [figures[f"none.{kind}.error"] for kind in chosen.families["noise"]]
    assert figures["none.noise.error"] == pytest.approx(np.mean(by_kind))
    before, after = figures["none.corrupted_error"], figures["targeted.corrupted_error"]
    excess = before - figures["none.clean_error"]
    assert figures["none.excess"] == pytest.approx(excess)
    ours = (after - figures["targeted.clean_error"]) / excess if excess > 0 else None
    assert figures["targeted.relative_excess"] == (None if ours is None else pytest.approx(ours))
    assert before == pytest.approx(np.mean([figures[f"none.{kind}.error"] for kind in chosen.main]))
    assert named_by_claims() <= set(figures)


def test_small_reads_the_sizes_that_it_states(tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, excesses = [], {"none.excess": 0.0, "randaugment.excess": 0.2, "targeted.excess": 0.1}
    monkeypatch.setattr(module, "_measure", lambda setup, seed, progress: seen.append(setup) or dict(excesses))
    none = {"randaugment.relative_excess": None, "targeted.relative_excess": None}
    assert medmnist_c("small", 0, Silent()) == {**excesses, **none}, "no unit: missing, not 0"
    excesses["none.excess"] = 0.5
    assert medmnist_c("small", 0, Silent())["targeted.relative_excess"] == 0.2
    medmnist_c("small", 1, Silent())
    for setup in seen:
        assert [len(setup.fitting.of_split(split)) for split in ("train", "val")] == [40, 20]
        assert (len(setup.test), setup.test.split, setup.fitting.split) == (12, "test", None)
        assert len(setup.fitting.class_names) == 10
        assert (setup.benchmark, setup.side, setup.kinds) == ("dermamnist", 28, benchmark("dermamnist").main)
    first, again, second = (set(setup.fitting.ids) for setup in seen)
    assert first == again
    assert first != second, "each seed draws its own images"
    monkeypatch.undo()
    assert module.SMALL_SIZES == (4000, 800, 800)
    assert module.SMALL_PLAN.epochs == 10


def test_small_without_its_images_says_where_they_are_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FASHION_MNIST_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere, which is not there; .*apt install dataset-fashion-mnist.*SNELLEN_"):
        reproduce("37", scale="small", seeds=1)


# -- full --------------------------------------------------------------------------------------------------------------


def test_full_without_its_images_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.MEDMNIST_VARIABLE, raising=False)
    with pytest.raises(InputError, match=r"SNELLEN_MEDMNIST is not set: the folder of MedMNIST\+.*NAME_224\.npz"):
        reproduce("37", scale="full", seeds=1)
    monkeypatch.setenv(module.MEDMNIST_VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match=r"pathmnist_224\.npz cannot be read"):
        reproduce("37", scale="full", seeds=1)


def test_full_reads_the_twelve_sets_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MEDMNIST_C:
        chosen, arrays = benchmark(name), {}
        for split in ("train", "val", "test"):
            # Only the first classes occur, as in a small part they may.
            labels = np.eye(2, chosen.labels, dtype=np.uint8) if chosen.task == "multi-label" else np.array([[0], [1]])
            arrays[f"{split}_images"] = np.zeros((2, 8, 8, 3) if chosen.rgb else (2, 8, 8), dtype=np.uint8)
            arrays[f"{split}_labels"] = labels.astype(np.uint8)
        np.savez(tmp_path / f"{name}_224.npz", **arrays)
    monkeypatch.setenv(module.MEDMNIST_VARIABLE, str(tmp_path))
    seen = []

    def measure(setup, seed, progress):
        seen.append(setup)
        return {"all": float(len(seen)), **even, **({"only last": 7.0} if setup.benchmark == MEDMNIST_C[-1] else {})}

    monkeypatch.setattr(module, "_measure", measure)
    even = {"none.excess": 0.5, "randaugment.excess": 0.25, "targeted.excess": 0.25}
    relative = {"randaugment.relative_excess": 0.5, "targeted.relative_excess": 0.5}
    figures = medmnist_c("full", 0, Silent())
    assert figures == {"all": 6.5, "only last": 7.0, **even, **relative}, "a mean over the sets that have the figure"
    assert [setup.benchmark for setup in seen] == list(MEDMNIST_C)
    for setup in seen:
        assert len(setup.fitting.class_names) == len(setup.test.class_names) == benchmark(setup.benchmark).labels
        assert setup.fitting.column("split") == ["train", "train", "val", "val"]
        assert setup.test.split == "test"
        assert (setup.architecture, setup.side, setup.plan) == ("timm:resnet18", 224, PAPER_PLAN)
        assert setup.kinds == benchmark(setup.benchmark).main
    assert seen[MEDMNIST_C.index("chestmnist")].fitting.has_labels
