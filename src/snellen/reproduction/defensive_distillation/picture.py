"""The picture of system 10: what FGSM and the margin make of scenes, before and after distillation.

It trains one network, and a teacher with a student, as the small experiment does: about a minute of a core.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation import cross_entropy, negative_margin
from snellen.methods.attacks.steepest_ascent import many_steps, one_step
from snellen.reproduction.defensive_distillation.comparison import _distilled, _trained
from snellen.reproduction.defensive_distillation.experiment import _setup
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import Tile, as_bytes, tile_sheet, verdict

#: Seed of no record, temperature of the student, and size of every change.
SEED, TEMPERATURE, EPSILON = 0, 100.0, 0.05

#: Scenes that are shown, and the side of a picture.
SHOWN, SIDE = 3, 128

TITLE = "what each attack adds to the image, enlarged (grey: nothing), and what the network then decides"

#: Half the range of changes that a map shows: a change of nothing is grey.
GREY = 0.5


def broken(classifier: Classifier, images: Tensor, labels: Tensor, rng: Randomness) -> dict[str, Tensor]:
    """Adversarial images by one step on cross-entropy, and by twenty on the margin."""
    return {
        "FGSM": one_step(classifier, images, labels, objective=cross_entropy, epsilon=EPSILON).images,
        "margin": many_steps(
            classifier, images, labels, objective=negative_margin, epsilon=EPSILON, steps=20, rng=rng
        ).images,
    }


def decided(classifier: Classifier, images: Tensor) -> list[str]:
    """Names of the classes."""
    with torch.no_grad():
        return [classifier.class_names[at] for at in classifier(images).argmax(1).tolist()]


def draw(root: Path, target: Path) -> str:
    """Train, attack all test images, and show some that both networks get right."""
    setup, rng = _setup("small", SEED), Randomness(SEED)
    networks = {
        "as trained": _trained(setup, setup.student, rng, Silent()),
        "distilled": _distilled(setup, TEMPERATURE, rng, Silent())[1],
    }
    truth = [setup.class_names[at] for at in setup.labels.tolist()]
    before = {name: decided(one, setup.images) for name, one in networks.items()}
    after = {name: broken(one, setup.images, setup.labels, rng) for name, one in networks.items()}
    names = {
        (name, way): decided(networks[name], images) for name, found in after.items() for way, images in found.items()
    }
    right = [at for at in range(len(truth)) if all(one[at] == truth[at] for one in before.values())]
    rows: list[tuple[str, list[Tile]]] = []
    for at in right[:SHOWN]:
        tiles = [Tile(as_bytes(setup.images[at]), (truth[at], "unchanged"))]
        for (name, way), said in names.items():
            image = after[name][way][at]
            change = (image - setup.images[at]) / (2 * EPSILON) + GREY
            tiles.append(
                Tile(as_bytes(change), (f"{name}, {way}", f"decides {said[at]}"), verdict(said[at], truth[at]))
            )
        rows.append(("" if rows else TITLE, tiles))
    tile_sheet(rows, SIDE).save(target, "WEBP", lossless=True, method=6)
    lines = []
    for (name, way), said in names.items():
        share = sum(said[at] != truth[at] for at in right) / len(right)
        lines.append(f"{name}, {way}: {share:.0%} broken of {len(right)}")
    return "\n".join(lines)


PICTURES: Pictures = {"defensive-distillation": draw}
