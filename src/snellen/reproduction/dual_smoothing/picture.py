"""The picture of system 13: an image, its two halves with and without noise, and what votes of each prove.

It trains the networks of the small experiment on fewer garments: about half a minute of a core.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.methods.smoothing.branches import HALVES, pick, place
from snellen.reproduction.dual_smoothing.experiment import SMALL, prepared, sigma_of, trained_networks
from snellen.reproduction.dual_smoothing.materials import Sizes, garments
from snellen.reproduction.dual_smoothing.votes import Votes, votes_of
from snellen.reproduction.shared.documents import Pictures
from snellen.reproduction.shared.tile_sheet import Tile, as_bytes, tile_sheet

#: Seed of no record, garments to train on and to certify, epochs of whole images and further ones, and samples of each
#: network.
SEED, SIZES, EPOCHS, FURTHER, SAMPLES = 0, Sizes(2000, 12), 3, 2, 500

#: Rows, and the side of a picture: four pixels of the sheet for each of an image.
SHOWN, SIDE = 3, 112


def noisy(image: Tensor, half: int | None, noise: Tensor) -> Tensor:
    """An image (3, h, w), or one half of it with zeros between, under grey noise (h, w)."""
    if half is None:
        return image + sigma_of(False) * noise
    return place(pick(image[None] + sigma_of(True) * noise, half), half)[0]


def shares(votes: Votes, row: int) -> str:
    """Shares of the votes for the true class, of each network."""
    counts = votes.estimation[SAMPLES][row, :, int(votes.labels[row])].double() / SAMPLES
    return " and ".join(f"{100 * share:.0f} %" for share in counts.tolist())


def draw(root: Path, target: Path) -> str:
    """Train, vote, and show the first garments of different classes that both ways prove."""
    arm = replace(SMALL.arms["garments"], sizes=SIZES, epochs=EPOCHS, further=FURTHER)
    rng, test = Randomness(SEED), garments("test", SIZES, SEED)
    votes = {}
    for split_pixels, classifier in trained_networks("garments", arm, SEED, rng, Silent()).items():
        images, labels = prepared(classifier, test), torch.from_numpy(test.labels)
        votes[split_pixels] = votes_of(
            classifier, images, labels, sigma=sigma_of(split_pixels), split_pixels=split_pixels, samples=(SAMPLES,),
            rng=rng.child("votes", int(split_pixels)), progress=Silent(), task="votes",
        )  # fmt: skip
    radii = {split_pixels: found.radii(SAMPLES) for split_pixels, found in votes.items()}
    proven = [row for row in range(len(labels)) if radii[False][row] > 0 and radii[True][row] > 0]
    first_of_class = {int(labels[row]): row for row in reversed(proven)}
    rows: list[tuple[str, list[Tile]]] = []
    for row in sorted(first_of_class.values())[:SHOWN]:
        noise = torch.randn(images.shape[-2:], generator=rng.child("picture", row).generator("noise"))
        name = classifier.class_names[int(labels[row])]
        whole = as_bytes(noisy(images[row], None, noise))
        tiles = [Tile(as_bytes(images[row]), (name, "")), Tile(whole, ("all pixels,", f"noise {sigma_of(False):g}"))]
        for half in HALVES:
            kept = place(pick(images[[row]], half), half)[0]
            tiles.append(Tile(as_bytes(kept), (f"half {half + 1}", "")))
        tiles += [
            Tile(as_bytes(noisy(images[row], half, noise)), (f"half {half + 1},", f"noise {sigma_of(True):.2f}"))
            for half in HALVES
        ]
        title = (
            f"whole image: {shares(votes[False], row)} of the votes, radius {radii[False][row]:.2f}.   "
            f"halves: {shares(votes[True], row)}, radius {radii[True][row]:.2f}"
        )
        rows.append((title, tiles))
    tile_sheet(rows, SIDE).save(target, "WEBP", lossless=True, method=6)
    return f"mean radii {radii[False].mean():.3f} and {radii[True].mean():.3f} of {len(labels)} images"


PICTURES: Pictures = {"dual-smoothing": draw}
