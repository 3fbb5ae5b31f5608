"""The picture of system 5: what three denoisers find in attacked garments.

It trains the classifiers and three denoisers as the small experiment does: about three minutes of a core.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.reproduction.perturbation_estimation.arms import ARMS, trained_arm
from snellen.reproduction.perturbation_estimation.setting import EPSILON, SMALL, make_setting
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import Tile, as_bytes, tile_sheet, verdict
from snellen.systems.perturbation_estimation.estimate import red, unbounded_scores
from snellen.systems.perturbation_estimation.pairs import limited

#: Seed of no record, pairs that are shown, and the side of a picture.
SEED, SHOWN, SIDE = 100, 3, 148

#: Arms that are shown, in words.
NAMES = {"do": "plain", "ds": "stability", "cdd": "aligned"}

TITLE = "what PGD added, and what each denoiser finds in the attacked image (enlarged, grey: nothing)"

#: The attacks of a picture that is about PGD alone are kept short: nothing of the others is shown.
BUDGET = replace(SMALL, cw_steps=2, queries=2, sizes=replace(SMALL.sizes, hard=2))


def draw(root: Path, target: Path) -> str:
    """Train, and show the first pairs of PGD on the surrogate; returns shares over all of them."""
    rng = Randomness(SEED)
    setting = make_setting(BUDGET, rng, Silent())
    finished: dict[str, nn.Module] = {}
    for name in NAMES:
        before = ARMS[name].after
        finished[name] = trained_arm(
            ARMS[name], setting, BUDGET.sizes, rng, Silent(), before=None if before is None else finished[before]
        )
    pairs = next(
        pairs for cell in setting.seen if cell.attack == "pgd" and (pairs := limited(cell, len(cell.ids))) is not None
    )
    victim = setting.victims[pairs.victim]
    truth, attacked = decided(victim, pairs.clean), decided(victim, pairs.adversarial)
    found = {name: pairs.adversarial - red(network, pairs.adversarial).clean for name, network in finished.items()}
    pasted = {name: decided(victim, pairs.clean + change) for name, change in found.items()}
    cleaned = {name: decided(victim, pairs.adversarial - change) for name, change in found.items()}
    rows: list[tuple[str, list[Tile]]] = []
    for at in range(min(SHOWN, len(pairs.ids))):
        added = pairs.adversarial[at] - pairs.clean[at]
        tiles = [
            Tile(as_bytes(pairs.clean[at]), ("clean", f"decides {truth[at]}"), verdict(truth[at], truth[at])),
            Tile(
                as_bytes(pairs.adversarial[at]),
                ("attacked", f"decides {attacked[at]}"),
                verdict(attacked[at], truth[at]),
            ),
            Tile(enlarged(added), ("added by PGD",)),
        ]
        for name, title in NAMES.items():
            tiles.append(
                Tile(
                    enlarged(found[name][at]),
                    (title, f"pasted: {pasted[name][at]}", f"taken away: {cleaned[name][at]}"),
                    verdict(cleaned[name][at], truth[at]),
                )
            )
        rows.append(("" if rows else TITLE, tiles))
    tile_sheet(rows, SIDE).save(target, "WEBP", lossless=True, method=6)
    return "\n".join(
        f"{NAMES[name]}: of {len(truth)} pairs {share(pasted[name], attacked):.0%} pasted are decided as the attacked "
        f"image, {share(cleaned[name], truth):.0%} taken away as the clean one"
        for name in NAMES
    )


def enlarged(change: Tensor) -> Tensor:
    """A change of the image as a picture: grey is nothing, black and white the largest change of the attack."""
    return as_bytes((change / (2 * EPSILON) + 0.5).clamp(0, 1))


def decided(classifier: Classifier, images: Tensor) -> list[str]:
    """Names of the classes, of images of any range."""
    with torch.no_grad():
        return [classifier.class_names[at] for at in unbounded_scores(classifier)(images).argmax(1).tolist()]


def share(said: list[str], wanted: list[str]) -> float:
    """Share of equal names."""
    return sum(one == other for one, other in zip(said, wanted, strict=True)) / len(said)


PICTURES: Pictures = {"perturbations-found": draw}
