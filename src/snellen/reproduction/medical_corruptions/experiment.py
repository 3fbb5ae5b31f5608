"""System 37, MedMNIST-C: does training on corruptions that fit the modality help, and what does it cost.

Five ways of training are compared on the same images with the same plan: no augmentation, RandAugment, the targeted
augmentation, and the targeted augmentation without one family of corruptions, tested on that family (once for each
family). Errors are one minus balanced accuracy over all kinds and severities.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snellen.core.artifact import Artifact
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.core.method import Recipe, build
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.system import Scale
from snellen.data.files.arrays import load_arrays
from snellen.data.files.joining import join
from snellen.data.files.labels import numbered_class_names
from snellen.data.files.medmnist import load_npz
from snellen.data.files.splits import as_split
from snellen.methods.corruptions.benchmarks import MEDMNIST_C, benchmark
from snellen.methods.recipes.targeted_augmentation import PAPER_PLAN
from snellen.models.classifiers.references import load_classifier
from snellen.reproduction.sample import Figure
from snellen.reproduction.shared.corruption_benchmark import CorruptionErrors, corruption_benchmark
from snellen.reproduction.shared.fashion_mnist import fashion_mnist
from snellen.training.plan import TrainingPlan

#: Where the images are, and what says so if they are elsewhere.
MEDMNIST_VARIABLE = "SNELLEN_MEDMNIST"
#: PathMNIST's training images of 224 pixels are 13.5e9 bytes.
LARGEST_ARRAY_BYTES = 16 * 2**30

#: Images of Fashion-MNIST to train on, to choose the epoch on, and to test on.
SMALL_SIZES = (4000, 800, 800)
SMALL_PLAN = TrainingPlan(
    epochs=10,
    batch_size=128,
    drop_last=True,
    learning_rate=4e-3,
    weight_decay=0.05,
    schedule="one-cycle",
    warmup_steps=100,
    ema_decay=0.99,
    channels_last=True,
)
#: Fewer than the paper's 224 pixels: the stages are the same, and take a tenth of the time.
SMOKE_SIDE = 64
SMOKE_PLAN = PAPER_PLAN.model_copy(update={"epochs": 2, "batch_size": 2})


@dataclass(frozen=True, eq=False)
class Setup:
    """One data set, how it is trained on, and which kinds are tested."""

    benchmark: str
    fitting: ImageSet
    test: ImageSet
    architecture: str
    side: int
    plan: TrainingPlan
    kinds: tuple[str, ...]


def medmnist_c(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 37.

    Returns:
        For each way of training ("none", "randaugment", "targeted"): ``clean_error``, ``corrupted_error``,
        ``corrupted_auroc``, and ``excess``, the corrupted error less the clean one; ``WAY.relative_excess`` to that of
        no augmentation, None where that has none; ``held_out.corrupted_error`` (mean
        over the families, each tested on a model that never saw it) beside ``none.family_error`` (the same mean of the
        model without augmentation), and the share ``held_out.families_improved``. Of several sets, means over those
        that have the figure: not every set has every kind and family.
    """
    per_set = [_measure(setup, seed, progress) for setup in _setups(scale, seed)]
    names = dict.fromkeys(name for figures in per_set for name in figures)
    means = {name: float(np.mean([figures[name] for figures in per_set if name in figures])) for name in names}
    unit = means["none.excess"]
    relative = {way: means[f"{way}.excess"] / unit if unit > 0 else None for way in ("randaugment", "targeted")}
    return {**means, **{f"{way}.relative_excess": value for way, value in relative.items()}}


medmnist_c.stand_ins = {  # type: ignore[attr-defined]
    "smoke": (
        "random images of 64 pixels for the twelve sets, of which two are run; networks of the real class with random "
        "weights",
    ),
    "small": (
        "Fashion-MNIST (28-pixel product thumbnails, 4,000 to train on, 800 each to choose and to test) for the "
        "MedMNIST+ sets, under the 15 corruptions of dermamnist, scaled from 224 pixels",
        "the embedded small CNN, 10 epochs, for ResNet-18, 100 epochs",
    ),
}


def _measure(setup: Setup, seed: int, progress: Progress) -> dict[str, float]:
    chosen = benchmark(setup.benchmark)
    targeted = {"method": "targeted_augmentation", "benchmark": setup.benchmark}
    ways = {"none": {"method": "supervised"}, "randaugment": {"method": "rand_augment"}, "targeted": targeted}
    errors = {way: _tested(_fitted(setup, seed, recipe, progress), setup, progress) for way, recipe in ways.items()}
    held_out: dict[str, float] = {}
    # A smoke run holds out one family: the others take the same way.
    families = dict(list(chosen.families.items())[: 1 if setup.plan is SMOKE_PLAN else None])
    for family, kinds in families.items():
        artifact = _fitted(setup, seed, {**targeted, "hold_out": family}, progress)
        tested = [kind for kind in kinds if kind in setup.kinds]
        held_out[family] = _corrupted(_tested(artifact, setup, progress, tested))
    baseline = errors["none"].family_errors()
    figures = {}
    for way, found in errors.items():
        figures[f"{way}.clean_error"] = found.clean_error
        figures[f"{way}.corrupted_error"] = _corrupted(found)
        figures[f"{way}.excess"] = _corrupted(found) - found.clean_error
        figures[f"{way}.corrupted_auroc"] = float(np.mean([np.mean(areas) for areas in found.aurocs.values()]))
        figures |= {f"{way}.{kind}.error": float(np.mean(values)) for kind, values in found.errors.items()}
    return {
        **figures,
        "held_out.corrupted_error": float(np.mean(list(held_out.values()))),
        "none.family_error": float(np.mean([baseline[family] for family in held_out])),
        "held_out.families_improved": float(np.mean([held_out[family] < baseline[family] for family in held_out])),
        **{f"held_out.{family}.error": value for family, value in held_out.items()},
        **{f"none.{family}.error": value for family, value in baseline.items()},
    }


def _fitted(setup: Setup, seed: int, recipe: Mapping[str, str], progress: Progress) -> Artifact:
    how = {"architecture": setup.architecture, "side": setup.side, "plan": setup.plan}
    made = build("recipes", {**recipe, **how})
    assert isinstance(made, Recipe)
    return made.fit(setup.fitting, rng=Randomness(seed), progress=progress)


def _tested(
    artifact: Artifact, setup: Setup, progress: Progress, kinds: Sequence[str] | None = None
) -> CorruptionErrors:
    with tempfile.TemporaryDirectory() as folder:
        artifact.save(Path(folder))
        classifier: Classifier = load_classifier(f"artifact:{folder}")
    return corruption_benchmark(
        classifier,
        setup.test,
        benchmark_name=setup.benchmark,
        kinds=setup.kinds if kinds is None else kinds,
        batch_size=250,
        progress=progress,
    )


def _corrupted(errors: CorruptionErrors) -> float:
    return float(np.mean([np.mean(values) for values in errors.errors.values()]))


def _setups(scale: Scale, seed: int) -> Iterator[Setup]:
    """One after the other: all sets together do not fit into memory."""
    if scale == "small":
        yield _fashion(seed)
    elif scale == "smoke":
        yield _random_images("dermamnist", seed, benchmark("dermamnist").main)
        # Of the second set, with its several labels, a kind of each family.
        yield _random_images("chestmnist", seed, tuple(kinds[0] for kinds in benchmark("chestmnist").families.values()))
    elif not (folder := os.environ.get(MEDMNIST_VARIABLE)):
        raise InputError(f"the full experiment reads MedMNIST+ (NAME_224.npz); set {MEDMNIST_VARIABLE} to its folder")
    else:
        yield from (_medmnist(Path(folder), name) for name in MEDMNIST_C)


def _fashion(seed: int) -> Setup:
    images, (fitted, tuned, tested) = fashion_mnist("train"), SMALL_SIZES
    chosen = np.random.default_rng(seed).permutation(len(images))[: fitted + tuned]
    test = fashion_mnist("test").limit(tested, seed)
    return Setup(
        benchmark="dermamnist",
        fitting=join(
            [
                as_split(images.select(np.sort(chosen[:fitted])), "train"),
                as_split(images.select(np.sort(chosen[fitted:])), "val"),
            ]
        ),
        test=test,
        architecture="fashion_cnn",
        side=28,
        plan=SMALL_PLAN,
        kinds=benchmark("dermamnist").main,
    )


def _medmnist(folder: Path, name: str) -> Setup:
    path, names = folder / f"{name}_224.npz", _class_names(name)

    def part(split: Split) -> ImageSet:
        return load_npz(path, split=split, class_names=names, max_array_bytes=LARGEST_ARRAY_BYTES)

    return Setup(
        benchmark=name,
        fitting=join([part("train"), part("val")]),
        test=part("test"),
        architecture="timm:resnet18",
        side=224,
        plan=PAPER_PLAN,
        kinds=benchmark(name).main,
    )


def _random_images(name: str, seed: int, kinds: tuple[str, ...]) -> Setup:
    """Two images a split, of random pixels: for running every stage, not for any figure."""
    chosen, names, generator = benchmark(name), _class_names(name), np.random.default_rng(seed)
    shape = (2, SMOKE_SIDE, SMOKE_SIDE, 3) if chosen.rgb else (2, SMOKE_SIDE, SMOKE_SIDE)
    labels = np.eye(2, len(names), dtype=np.int64) if chosen.task == "multi-label" else np.arange(2)

    def images(split: Split) -> ImageSet:
        pixels = generator.integers(0, 256, shape, dtype=np.uint8)
        return as_split(load_arrays(pixels, labels, class_names=names, name=f"random {split} images"), split)

    return Setup(
        benchmark=name,
        fitting=join([images("train"), images("val")]),
        test=images("test"),
        architecture="timm:resnet18",
        side=SMOKE_SIDE,
        plan=SMOKE_PLAN,
        kinds=kinds,
    )


def _class_names(name: str) -> tuple[str, ...]:
    """Numbers, as many as the set has classes or labels: a part of it need not show all."""
    count = benchmark(name).labels
    assert count is not None
    return numbered_class_names(count)
