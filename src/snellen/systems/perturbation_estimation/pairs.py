"""Pairs of a clean image and what an attack made of it, from several victims and attacks.

As Gong et al. (ICLR 2022) make them: only images that the victim gets right, only attacks that succeed. Their pairs are
read back from image files, so that perturbations are multiples of 1/255; here that is recorded, and a success that does
not survive it is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.errors import InputError
from snellen.core.method import Attack
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.systems.perturbation_estimation.estimate import in_batches

#: What progress calls it.
TASK = "pairs"


@dataclass(frozen=True, eq=False)
class Cell:
    """One attack on one victim: n pairs.

    Args:
        victim: name of the classifier that was attacked.
        attack: name of the attack.
        clean: (n, 3, h, w), float32 in [0, 1].
        adversarial: of the same shape; the victim decides otherwise than about its partner.
        ids: of the clean images.
        attacked: images that the victim got right and that were attacked; n of them were broken.
    """

    victim: str
    attack: str
    clean: Tensor
    adversarial: Tensor
    ids: tuple[str, ...]
    attacked: int

    @property
    def success_rate(self) -> float:
        """Share of the attacked images that were broken; 0 where none was attacked."""
        return len(self.ids) / self.attacked if self.attacked else 0.0

    def parts(self, count: int = 250, device: torch.device | None = None) -> Iterator[Cell]:
        """The pairs, so many at a time, on a device."""
        for start in range(0, len(self.ids), count):
            rows = slice(start, start + count)
            clean, adversarial = self.clean[rows].to(device), self.adversarial[rows].to(device)
            yield replace(self, clean=clean, adversarial=adversarial, ids=self.ids[rows])


class Pairs(Protocol):
    """Pairs of one attack on one victim, in memory (:class:`Cell`) or on the disk."""

    @property
    def victim(self) -> str:
        """Name of the classifier that was attacked."""
        ...

    @property
    def attack(self) -> str:
        """Name of the attack."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the clean images."""
        ...

    @property
    def attacked(self) -> int:
        """Images that the victim got right and that were attacked."""
        ...

    @property
    def success_rate(self) -> float:
        """Share of the attacked images that were broken."""
        ...

    def parts(self, count: int = 250, device: torch.device | None = None) -> Iterator[Cell]:
        """The pairs, so many at a time, on a device."""
        ...


def attack_pairs(
    victim: Classifier,
    attack: Attack,
    images: Tensor,
    labels: Tensor,
    ids: Sequence[str],
    *,
    names: tuple[str, str],
    rng: Randomness,
    eight_bits: bool = True,
    batch_size: int = 250,
) -> Cell:
    """Attack the images that a victim gets right, and keep what succeeds.

    Args:
        victim: gives gradients, if the attack needs them.
        attack: of the area ``attacks``.
        images: prepared, (n, 3, h, w) in [0, 1], at least one.
        labels: int64 (n,).
        ids: n of them.
        names: of victim and attack.
        rng: of the attack, by image.
        eight_bits: round adversarial images to bytes; those that the victim then gets right are left out.
        batch_size: images in one pass.
    """
    right = in_batches(victim, images).argmax(1) == labels
    rows = right.nonzero().flatten()
    # Networks need not take empty batches.
    found, kept = [images[:0]], list[int]()
    for part in rows.split(batch_size) if len(rows) else ():
        own = rng.for_examples([ids[row] for row in part.tolist()])
        made = attack.attack(victim, images[part], labels[part], criterion=Misclassified(), rng=own)
        changed, success = made.images, made.success
        if eight_bits:
            changed = (changed * 255).round() / 255
            success = success & (in_batches(victim, changed).argmax(1) != labels[part])
        found.append(changed[success])
        kept += part[success].tolist()
    return Cell(
        victim=names[0],
        attack=names[1],
        clean=images[kept],
        adversarial=torch.cat(found),
        ids=tuple(ids[row] for row in kept),
        attacked=len(rows),
    )


def make_cells(
    victims: Mapping[str, Classifier],
    attacks: Mapping[str, Attack],
    images: Tensor,
    labels: Tensor,
    ids: Sequence[str],
    *,
    rng: Randomness,
    eight_bits: bool = True,
    progress: Progress | None = None,
) -> list[Cell]:
    """Every attack on every victim, by name; see :func:`attack_pairs`."""
    listener = progress or Silent()
    listener.begin(TASK, len(victims) * len(attacks))
    cells = []
    for victim, classifier in victims.items():
        for attack, method in attacks.items():
            own, names = rng.child("pairs", victim, attack), (victim, attack)
            cells.append(
                attack_pairs(classifier, method, images, labels, ids, names=names, rng=own, eight_bits=eight_bits)
            )
            listener.advance(TASK, 1, f"{attack} on {victim}")
    listener.finish(TASK)
    return cells


def check_any(cells: Sequence[Pairs]) -> None:
    """Refuse cells without a pair; the message says how many attacks failed.

    Raises:
        InputError: there is no pair.
    """
    if not any(len(cell.ids) for cell in cells):
        told = "; ".join(f"{cell.attack} on {cell.victim}: 0 of {cell.attacked}" for cell in cells)
        raise InputError(
            f"no attack succeeded, so there are no pairs to learn from ({told or 'no attack'}); give images that the "
            f"victims get right, and stronger attacks"
        )


def joined(cells: Sequence[Cell]) -> Cell:
    """All pairs in one, with ids that name victim and attack.

    Raises:
        InputError: there is no pair.
    """
    check_any(cells)
    return Cell(
        victim="all",
        attack="all",
        clean=torch.cat([cell.clean for cell in cells]),
        adversarial=torch.cat([cell.adversarial for cell in cells]),
        ids=tuple(f"{cell.victim}/{cell.attack}/{one}" for cell in cells for one in cell.ids),
        attacked=sum(cell.attacked for cell in cells),
    )


def limited(cell: Pairs, count: int) -> Cell | None:
    """The first pairs of a cell, at most so many, in memory; None where it holds none."""
    return next(cell.parts(count), None)
