"""Pairs on the disk: bytes that are read when they are needed, so that memory does not grow with their number.

Each attack on each victim has two files beside each other, ``N-clean.bytes`` and ``N-adversarial.bytes``: uint8
(n, 3, h, w), row by row. ``pairs.json`` is written last and says what they are.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RunConflictError
from snellen.core.images import ImageSet, Split
from snellen.core.method import Attack
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.run import canonical_json, write_atomically
from snellen.data.loading import prepared_batches
from snellen.systems.perturbation_estimation.pairs import TASK, Cell, attack_pairs, check_any

#: Says what the files of a folder are.
RECORD = "pairs.json"

#: Both partners, as in names of files.
PARTNERS = ("clean", "adversarial")

#: Images as bytes (n, 3, h, w), int64 labels (n,), and ids.
Labelled = tuple[Tensor, Tensor, Sequence[str]]


@dataclass(frozen=True, eq=False)
class PairFiles:
    """One attack on one victim: n pairs in two files.

    Attributes:
        victim: name of the classifier that was attacked.
        attack: name of the attack.
        ids: of the clean images.
        attacked: images that the victim got right and that were attacked.
        size: height and width, pixels.
        paths: files of the clean images and of the adversarial ones.
        hashes: of both (sha256, hex).
    """

    victim: str
    attack: str
    ids: tuple[str, ...]
    attacked: int
    size: tuple[int, int]
    paths: tuple[Path, Path]
    hashes: tuple[str, str]

    @property
    def success_rate(self) -> float:
        """Share of the attacked images that were broken; 0 where none was attacked."""
        return len(self.ids) / self.attacked if self.attacked else 0.0

    def rows(self, positions: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Clean and adversarial images, uint8 (m, 3, h, w) each."""
        clean, adversarial = (torch.from_numpy(np.ascontiguousarray(self._file(at)[positions])) for at in range(2))
        return clean, adversarial

    def parts(self, count: int = 32, device: torch.device | None = None) -> Iterator[Cell]:
        """The pairs, so many at a time, as floats in [0, 1] on a device."""
        for start in range(0, len(self.ids), count):
            ids = self.ids[start : start + count]
            clean, adversarial = self.rows(np.arange(start, start + len(ids)))
            pairs = to_unit(clean.to(device)), to_unit(adversarial.to(device))
            yield Cell(self.victim, self.attack, pairs[0], pairs[1], ids, self.attacked)

    def _file(self, at: int) -> NDArray[np.uint8]:
        shape = (len(self.ids), 3, *self.size)
        if not self.ids:  # no file can be mapped that is empty
            return np.zeros(shape, dtype=np.uint8)
        return np.memmap(self.paths[at], dtype=np.uint8, mode="r", shape=shape)


def labelled_batches(
    images: ImageSet, preparation: Preprocessing, rejected: set[str], batch_size: int = 32
) -> Iterator[Labelled]:
    """Usable images with labels, prepared, one batch after the other; ids of the others are added to ``rejected``."""
    labels = torch.from_numpy(images.labels)
    for batch in prepared_batches(images, preparation, batch_size):
        rejected.update(one for one, _ in batch.rejected)
        known = [at for at, row in enumerate(batch.indices) if labels[row] >= 0]
        rejected.update(batch.ids[at] for at in range(len(batch.ids)) if at not in known)
        if known:
            rows = [batch.indices[at] for at in known]
            pixels = batch.pixels[known]
            if pixels.dtype != torch.uint8:  # of images of 16 bits
                pixels = (pixels * 255).round().to(torch.uint8)
            yield pixels, labels[rows], [batch.ids[at] for at in known]


def write_pairs(
    folder: Path,
    victims: Mapping[str, Classifier],
    attacks: Mapping[str, Attack],
    images: Iterable[Labelled],
    *,
    rng: Randomness,
    plan: Mapping[str, Any],
    progress: Progress | None = None,
) -> list[PairFiles]:
    """Make every attack on every victim and keep what succeeds, one batch of images after the other.

    Complete pairs of the same plan are opened and not made again; a call that was stopped begins anew.

    Args:
        folder: where the files go; free, or of the same plan.
        victims: classifiers by name; all take images of one size.
        attacks: by name.
        images: batches; they are read once for all victims and attacks.
        rng: of the attacks, by image.
        plan: everything that the pairs follow from, as JSON; compared with that of a folder that is there.
        progress: callback that receives progress updates.

    Raises:
        RunConflictError: the folder holds pairs of another plan.
        InputError: its files were cut or cannot be read; victims without a size of images.
    """
    if (folder / RECORD).is_file():
        return _opened(folder, plan)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    listener, names = progress or Silent(), [(victim, attack) for victim in victims for attack in attacks]
    written = [_Written() for _ in names]
    size = next(iter(victims.values())).preparation.size
    if size is None:
        raise InputError("pairs of one file have one size; give the victims one (--size)")
    listener.begin(TASK, 0)
    with ExitStack() as stack:
        files = [
            [stack.enter_context((unfinished / f"{at}-{one}.bytes").open("wb")) for one in PARTNERS]
            for at in range(len(names))
        ]
        for pixels, labels, ids in images:
            for at, (victim, attack) in enumerate(names):
                classifier = victims[victim]
                seen = to_unit(pixels.to(classifier.device))
                cell = attack_pairs(
                    classifier, attacks[attack], seen, labels.to(classifier.device), ids, names=(victim, attack),
                    rng=rng.child("pairs", victim, attack),
                )  # fmt: skip
                written[at].add(cell, files[at])
            listener.advance(TASK, len(ids))
    listener.finish(TASK)
    cells = [
        {"victim": victim, "attack": attack, "ids": one.ids, "attacked": one.attacked, "sha256": one.hashes}
        for (victim, attack), one in zip(names, written, strict=True)
    ]
    record = canonical_json({"plan": dict(plan), "size": list(size), "cells": cells})
    write_atomically(unfinished / RECORD, record)
    unfinished.rename(folder)
    return _opened(folder, plan)


@dataclass
class _Written:
    """What was written of one cell so far."""

    ids: list[str] = field(default_factory=list)
    attacked: int = 0
    digests: list[Any] = field(default_factory=lambda: [hashlib.sha256(), hashlib.sha256()])

    def add(self, cell: Cell, files: Sequence[Any]) -> None:
        for images, file, digest in zip((cell.clean, cell.adversarial), files, self.digests, strict=True):
            content = (images * 255).round().to(torch.uint8).cpu().numpy().tobytes()
            file.write(content)
            digest.update(content)
        self.ids += cell.ids
        self.attacked += cell.attacked

    @property
    def hashes(self) -> list[str]:
        return [one.hexdigest() for one in self.digests]


def _opened(folder: Path, plan: Mapping[str, Any]) -> list[PairFiles]:
    try:
        record = json.loads((folder / RECORD).read_bytes())
        planned, (height, width) = record["plan"], record["size"]
        cells = [
            PairFiles(
                victim=cell["victim"],
                attack=cell["attack"],
                ids=tuple(cell["ids"]),
                attacked=cell["attacked"],
                size=(height, width),
                paths=(folder / f"{at}-{PARTNERS[0]}.bytes", folder / f"{at}-{PARTNERS[1]}.bytes"),
                hashes=(cell["sha256"][0], cell["sha256"][1]),
            )
            for at, cell in enumerate(record["cells"])
        ]
        sizes = {path: path.stat().st_size for cell in cells for path in cell.paths}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} cannot be read as pairs: {error}; delete it, and they are made again") from error
    if planned != json.loads(canonical_json(dict(plan))):
        raise RunConflictError(
            f"{folder} holds pairs of other images, classifiers or attacks; choose another folder, or delete it"
        )
    for cell in cells:
        expected = len(cell.ids) * 3 * height * width
        for path in cell.paths:
            if sizes[path] != expected:
                raise InputError(f"{path} has {sizes[path]} bytes and not {expected}; delete {folder}")
    return cells


@dataclass(frozen=True, eq=False)
class StoredPairs:
    """Pairs of several cells as a training takes them: clean images, and their partners as targets."""

    cells: tuple[PairFiles, ...]
    split: Split | None = None
    rejected: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cells: Sequence[PairFiles]) -> StoredPairs:
        """All pairs of some cells.

        Raises:
            InputError: there is no pair.
        """
        check_any(cells)
        return cls(tuple(cells))

    @property
    def ids(self) -> tuple[str, ...]:
        """Victim, attack and image of each pair."""
        return tuple(f"{cell.victim}/{cell.attack}/{one}" for cell in self.cells for one in cell.ids)

    @property
    def weights(self) -> Tensor:
        """1 for each."""
        return torch.ones(sum(len(cell.ids) for cell in self.cells))

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Bytes (m, 3, h, w) of both partners."""
        ends = np.cumsum([len(cell.ids) for cell in self.cells])
        wanted = positions.numpy()
        which = np.searchsorted(ends, wanted, side="right")
        height, width = self.cells[0].size
        found = [torch.empty(len(wanted), 3, height, width, dtype=torch.uint8) for _ in PARTNERS]
        for at in np.unique(which):
            rows = np.flatnonzero(which == at)
            start = ends[at] - len(self.cells[at].ids)
            for target, images in zip(found, self.cells[at].rows(wanted[rows] - start), strict=True):
                target[torch.from_numpy(rows)] = images
        return found[0], found[1]

    def fingerprint(self) -> str:
        """Hash of the hashes of all files, and of the names of the pairs (sha256, hex)."""
        return hashlib.sha256(canonical_json([[*cell.hashes, *cell.ids] for cell in self.cells])).hexdigest()
