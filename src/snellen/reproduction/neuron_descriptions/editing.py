"""What zeroing the units that are described with letters changes in a network that reads letters instead of shapes.

Hernandez et al., ICLR 2022, section 6: the class in letters on half of the training images, another class in the test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.images import Split
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.data.files.arrays import load_arrays
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.planting.scene_shortcuts import Correlation, LetteringShortcut
from snellen.reproduction.neuron_descriptions.materials import SHAPES, SIDE, World, pictures
from snellen.reproduction.neuron_descriptions.networks import LAYERS, shape_network
from snellen.systems.neuron_descriptions.ablation import (
    Unit,
    ablation_curve,
    by_accuracy_without,
    random_units_of_mass,
    units_described_with,
    zeroed,
)
from snellen.systems.neuron_descriptions.describer import Describer
from snellen.systems.neuron_descriptions.exemplars import find_exemplars
from snellen.systems.neuron_descriptions.region_truth import attributes_of_units

#: Words that make a unit a candidate, as published.
WORDS = ("word", "text", "letter")

#: Units that are zeroed along the curves.
COUNTS = (0, 1, 2, 4, 8, 16, 32)

#: Of a letter, in half sides of the image: smaller ones are hardly read at this size, and make no shortcut.
_HEIGHT = 0.5

#: Random sets of units.
_DRAWS = 5

#: Images that are decided together.
_TOGETHER = 250


@dataclass(frozen=True, eq=False)
class Tests:
    """The same test scenes three times: pictures by what is written, and the labels."""

    pixels: dict[str, Tensor]
    labels: Tensor


def edited_network(
    describer: Describer,
    *,
    scenes: int,
    epochs: int,
    validation: int,
    tests: int,
    beams: int,
    seed: int,
    rng: Randomness,
    progress: Progress,
) -> dict[str, float]:
    """Train a network on the shortcut, describe its units on validation images, and zero them.

    Returns:
        ``edit.WAY.GROUP``: accuracy on test images with GROUP ``none`` (no letters), ``own`` (those of the class),
        ``wrong`` (of another), and ``worst``, the least of the three. WAY is ``before``; ``described``, all units whose
        description has one of :data:`WORDS`; ``sort_all``, as many in the order of the validation accuracy without
        each unit alone; ``random``, the mean over five sets of other units with as much activation.
        ``edit.curve.described.N`` and ``edit.curve.sort_all.N`` are ``worst`` with the first N units; ``edit.units``
        and ``edit.true_units`` numbers of described units, and of those whose regions show letters;
        ``edit.random.high`` the highest of the five.
    """
    train = _lettered(scenes, "train", seed)
    classifier = shape_network(pictures(train), _labels(train), SHAPES, epochs=epochs, rng=rng, progress=progress)
    world = _world(_lettered(validation, "val", seed))
    test = _tests(tests, seed)
    found, _ = find_exemplars(classifier, world.images, LAYERS, progress=progress)
    units = [Unit(layer, number) for layer, one in found.items() for number in range(one.units)]
    said = describer.describe(world.regions(found, describer), width=beams)
    texts = {unit: "" if one is None else one.text for unit, one in zip(units, said, strict=True)}
    masses = {unit: float(found[unit.layer].masses[unit.number]) for unit in units}
    lettered = [one for exemplars in found.values() for one in attributes_of_units(exemplars, world.maps)]
    figures = edit_figures(
        classifier, texts, masses, (world.pixels, _labels(world.scenes)), test, rng=rng, progress=progress
    )
    return figures | {"edit.true_units": float(sum("letters" in one for one in lettered))}


def edit_figures(
    classifier: Classifier,
    texts: Mapping[Unit, str],
    masses: Mapping[Unit, float],
    validation: tuple[Tensor, Tensor],
    test: Tests,
    *,
    counts: Sequence[int] = COUNTS,
    rng: Randomness,
    progress: Progress,
) -> dict[str, float]:
    """Zero the units whose description has one of :data:`WORDS`; see :func:`edited_network`.

    Args:
        classifier: that has learnt the shortcut.
        texts: description of every unit, empty where there is none.
        masses: mean absolute activation of every unit.
        validation: images (n, 3, h, w) and labels (n,) that order the units.
        test: what the edit is judged on.
        counts: units along the curves.
        rng: of the random sets.
        progress: callback that receives progress updates.
    """
    units = list(texts)

    def on_validation(edited: Classifier) -> float:
        return _accuracy(edited, *validation)

    described = by_accuracy_without(classifier, units_described_with(texts, WORDS), on_validation)
    ordered = by_accuracy_without(classifier, units, on_validation)
    progress.begin("zeroing units", 1)
    ways: dict[str, Sequence[Unit]] = {
        "before": (),
        "described": described,
        "sort_all": ordered[: len(described)],
    }
    figures = {"edit.units": float(len(described))}
    for way, chosen in ways.items():
        figures |= {f"edit.{way}.{group}": value for group, value in _groups(classifier, chosen, test).items()}
    drawn = [
        _groups(classifier, random_units_of_mass(masses, described, generator=rng.generator(f"units {draw}")), test)
        for draw in range(_DRAWS)
    ]
    figures |= {f"edit.random.{group}": float(np.mean([one[group] for one in drawn])) for group in drawn[0]}
    figures["edit.random.high"] = max(one["worst"] for one in drawn)
    worst = _worst(test)
    for way, order in (("described", described), ("sort_all", ordered)):
        curve = ablation_curve(classifier, order, worst, counts)
        figures |= {f"edit.curve.{way}.{count}": value for count, value in zip(counts, curve, strict=True)}
    progress.finish("zeroing units")
    return figures


def _scenes(count: int, split: Split, seed: int) -> list[Scene]:
    world = Scenes(
        count=count,
        size=SIDE,
        shapes=SHAPES,
        sizes=("medium", "large"),
        tilts=("upright",),
        captions=False,
        seed=derive_seed(seed, "edited") % 2**31,
    )
    return world.scenes(split)


def _written(scenes: Sequence[Scene], correlation: Correlation, split: Split, seed: int) -> list[Scene]:
    shortcut = LetteringShortcut(strength=1.0, correlation=correlation, height=_HEIGHT)
    found, _ = shortcut.on_scenes(
        scenes,
        _labels(scenes).numpy(),
        class_names=SHAPES,
        ids=[f"{split}/{row}" for row in range(len(scenes))],
        rng=Randomness(seed),
    )
    return list(found)


def _lettered(count: int, split: Split, seed: int) -> list[Scene]:
    """Scenes; every second one has the letters of its class."""
    plain = _scenes(count, split, seed)
    written = _written(plain, "planted", split, seed)
    return [two if row % 2 else one for row, (one, two) in enumerate(zip(plain, written, strict=True))]


def _tests(count: int, seed: int) -> Tests:
    plain = _scenes(count, "test", seed)
    groups = {
        "none": plain,
        "own": _written(plain, "aligned", "test", seed),
        "wrong": _written(plain, "conflicting", "test", seed),
    }
    return Tests({name: pictures(scenes) for name, scenes in groups.items()}, _labels(plain))


def _world(scenes: Sequence[Scene]) -> World:
    pixels = pictures(scenes)
    images = load_arrays((pixels * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return replace(World.of(scenes, name="validation"), pixels=pixels, images=images)


def _labels(scenes: Sequence[Scene]) -> Tensor:
    return torch.tensor([SHAPES.index(scene.objects[0].shape) for scene in scenes])


@torch.no_grad()
def _accuracy(classifier: Classifier, pixels: Tensor, labels: Tensor) -> float:
    decided = torch.cat([classifier(part.to(classifier.device)).argmax(1).cpu() for part in pixels.split(_TOGETHER)])
    return float((decided == labels).double().mean())


def _groups(classifier: Classifier, units: Sequence[Unit], test: Tests) -> dict[str, float]:
    with zeroed(classifier, units):
        found = {name: _accuracy(classifier, pixels, test.labels) for name, pixels in test.pixels.items()}
    return found | {"worst": min(found.values())}


def _worst(test: Tests) -> Callable[[Classifier], float]:
    return lambda edited: min(_accuracy(edited, pixels, test.labels) for pixels in test.pixels.values())
