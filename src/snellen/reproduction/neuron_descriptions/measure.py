"""Why zeroing the units that are described with letters repairs nothing (17.9): docs/measured/letters-zeroed.

    python scripts/measure.py neuron_descriptions --set seed=2000

Hypothesis: all of them are too many, because most carry shapes as well. Along the curve of the record the first four
gain on each seed, but that was seen on the test images. Here the count is chosen on validation scenes, each with no
letters, with those of its class and with those of another: the count of the highest accuracy in the worst group. If the
hypothesis is right, the gain on the test images is above two points on fresh seeds. The same choice along the order of
all units, described or not, is the control. A seed is a file and takes two minutes of a core; one that is there is left
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snellen.core.classifier import Classifier
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.reproduction.neuron_descriptions import editing
from snellen.reproduction.neuron_descriptions.editing import COUNTS, WORDS, Tests
from snellen.reproduction.neuron_descriptions.experiment import SMALL
from snellen.reproduction.neuron_descriptions.materials import SHAPES, learnt_describer, pictures
from snellen.reproduction.neuron_descriptions.networks import LAYERS, shape_network
from snellen.reproduction.shared.documents import Measurements, is_measured, measured_path, write_measured
from snellen.systems.neuron_descriptions.ablation import (
    Unit,
    ablation_curve,
    by_accuracy_without,
    units_described_with,
)
from snellen.systems.neuron_descriptions.exemplars import find_exemplars


def measure_letters(root: Path, progress: Progress, *, seed: int = 2000) -> None:
    """Accuracy in the worst group before, without all described units, and without as many as were chosen."""
    path = measured_path(root, f"letters-zeroed/{seed}")
    if is_measured(path):
        return
    rng = Randomness(seed)
    describer, _ = learnt_describer(
        SMALL.learnt, SMALL.describer, seed=seed, rng=rng.child("describer"), progress=progress
    )
    validation = SMALL.probing // 2
    train = editing._lettered(SMALL.scenes, "train", seed)
    classifier = shape_network(
        pictures(train), editing._labels(train), SHAPES, epochs=SMALL.epochs[2], rng=rng.child("edited"),
        progress=progress,
    )  # fmt: skip
    world = editing._world(editing._lettered(validation, "val", seed))
    found, _ = find_exemplars(classifier, world.images, LAYERS, progress=progress)
    units = [Unit(layer, number) for layer, one in found.items() for number in range(one.units)]
    said = describer.describe(world.regions(found, describer), width=SMALL.beams)
    texts = {unit: "" if one is None else one.text for unit, one in zip(units, said, strict=True)}

    def on_validation(edited: Classifier) -> float:
        return editing._accuracy(edited, world.pixels, editing._labels(world.scenes))

    orders = {"described": units_described_with(texts, WORDS), "any": units}
    choosing, test = _choosing(validation, seed), editing._tests(SMALL.tests, seed)
    ways = {
        name: zeroed_figures(classifier, by_accuracy_without(classifier, order, on_validation), choosing, test)
        for name, order in orders.items()
    }
    write_measured(path, {"seed": seed, "units": len(orders["described"]), **ways})


def zeroed_figures(classifier: Classifier, order: Sequence[Unit], choosing: Tests, test: Tests) -> dict[str, float]:
    """Worst group of the test images before, without all units of an order, and without the count that was chosen.

    Returns:
        ``before``, ``all``, ``chosen`` and its ``count``; ``none_before`` and ``none``: images without letters.
    """
    counts = sorted({count for count in COUNTS if count < len(order)} | {len(order)})
    curve = ablation_curve(classifier, order, editing._worst(choosing), counts)
    count = counts[max(range(len(counts)), key=lambda place: curve[place])]
    before, every, chosen = (editing._groups(classifier, order[:number], test) for number in (0, len(order), count))
    return {
        "before": before["worst"],
        "all": every["worst"],
        "chosen": chosen["worst"],
        "count": float(count),
        "none_before": before["none"],
        "none": chosen["none"],
    }


def _choosing(count: int, seed: int) -> Tests:
    """Validation scenes with no letters, with those of their class and with those of another."""
    plain = editing._scenes(count, "val", seed)
    groups = {
        "none": plain,
        "own": editing._written(plain, "aligned", "val", seed),
        "wrong": editing._written(plain, "conflicting", "val", seed),
    }
    return Tests({name: pictures(scenes) for name, scenes in groups.items()}, editing._labels(plain))


MEASUREMENTS: Measurements = {"letters": measure_letters}
