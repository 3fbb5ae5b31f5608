"""What a model that decides pixels loses under attack: counts of pixels of each image, clean and under each attack."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.attacks import FGSM, PGD, CosPGD, SegPGD
from snellen.core.classifier import Classifier
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.methods.attacks.search_attack import SearchAttack
from snellen.metrics.segmentation import confusion
from snellen.systems.context_upsampling.spectra import artifact_score

#: Sizes of the largest change, in [0, 1]: a small one, and the one that is published for classifiers.
EPSILONS: tuple[float, ...] = (2 / 255, 8 / 255)


def standard_attacks(steps: int = 10, epsilons: tuple[float, ...] = EPSILONS) -> dict[str, SearchAttack]:
    """FGSM, PGD, SegPGD and CosPGD of each size, by name; those with steps start from the same points.

    >>> list(standard_attacks(steps=3, epsilons=(2 / 255,)))
    ['fgsm_2', 'pgd_2', 'segpgd_2', 'cospgd_2']
    """
    found: dict[str, SearchAttack] = {}
    for epsilon in epsilons:
        size = levels(epsilon)
        found[f"fgsm_{size}"] = FGSM(epsilon=epsilon)
        for kind in (PGD, SegPGD, CosPGD):
            found[f"{kind.name}_{size}"] = kind(epsilon=epsilon, steps=steps)
    return found


def levels(epsilon: float) -> str:
    """An epsilon in levels of a byte: ``"2"`` for 2/255, ``"0p5"`` for half a level.

    >>> levels(2 / 255), levels(0.5 / 255)
    ('2', '0p5')
    """
    value = Fraction(epsilon * 255).limit_denominator(1000)
    return f"{float(value):g}".replace(".", "p")


def examine(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    attacks: Mapping[str, SearchAttack],
    *,
    rng: Randomness | None = None,
    together: int = 32,
    progress: Progress | None = None,
) -> dict[str, NDArray[np.int64]]:
    """Counts of pixels by true and decided class, ``clean`` and under each attack by its name: (n, k, k) each.

    Args:
        classifier: of task segment.
        images: prepared, (n, 3, h, w) in [0, 1].
        labels: (n, h, w), −1 where no class is known.
        attacks: by name.
        rng: of the starts, bound to the images by position: another model is attacked from the same points.
        together: images of one batch.
        progress: callback that receives progress updates.
    """
    rng = (rng or Randomness(0)).bind(len(images))
    found: dict[str, list[NDArray[np.int64]]] = {name: [] for name in ("clean", *attacks)}
    listener, count = progress or Silent(), len(classifier.class_names)
    listener.begin("attack pixels", len(images))
    for rows in torch.arange(len(images)).split(together):
        batch, truth = images[rows].to(classifier.device), labels[rows].to(classifier.device)
        with torch.no_grad():
            decided = classifier.predict(classifier(batch))
        found["clean"].append(confusion(decided, truth, count))
        for name, attack in attacks.items():
            scores = attack.attack(classifier, batch, truth, rng=rng[rows]).scores
            found[name].append(confusion(classifier.predict(scores), truth, count))
        listener.advance("attack pixels", len(rows))
    listener.finish("attack pixels")
    return {name: np.concatenate(parts) for name, parts in found.items()}


def shares_left(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """Of ``NAME.ATTACK`` and ``NAME.clean``: ``NAME.ATTACK_left``, the share of the clean figure that an attack leaves.

    None where nothing was right before the attack. A name counts as an attack where it ends in a size, as ``pgd_2``.

    >>> shares_left({"unet.clean": 0.8, "unet.pgd_2": 0.4, "unet.parameters": 7.0})
    {'unet.pgd_2_left': 0.5}
    """
    found: dict[str, float | None] = {}
    for name, value in figures.items():
        model, _, attack = name.rpartition(".")
        whole = figures.get(f"{model}.clean")
        if value is not None and attack.rpartition("_")[2].replace("p", "").isdigit() and attack != "clean":
            found[f"{name}_left"] = value / whole if whole else None
    return found


@torch.no_grad()
def upsampling_artifacts(classifier: Classifier, images: Tensor, layers: tuple[str, ...]) -> dict[str, float]:
    """Artifact score of the output of each of these layers, on images (n, 3, h, w) in [0, 1], all taken together."""
    return {layer: artifact_score(classifier.features(images.to(classifier.device), layer)) for layer in layers}
