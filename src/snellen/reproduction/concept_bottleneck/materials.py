"""What all ways of deciding start from: four sets of images, each encoded once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.data.loading import prepared_batches
from snellen.data.worlds.planting.scene_shortcuts import scenes_of
from snellen.models.dual_encoders.towers import ImageTower, TwoTower
from snellen.reproduction.concept_bottleneck.scenes_with_findings import (
    CLASSES,
    Finding,
    Sizes,
    concepts,
    findings,
    truth,
)
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.concept_bottleneck.concept_scores import Pooling, concept_vectors, pooled_cosines
from snellen.systems.concept_bottleneck.concept_source import Concepts
from snellen.systems.concept_bottleneck.shift_figures import ShiftFigures, shift_figures
from snellen.training.batches import ImageStore

#: Images that are encoded together.
_BATCH = 250

#: Over patches.
POOLINGS: tuple[Pooling, ...] = ("max", "mean")


@dataclass(frozen=True, eq=False)
class Part:
    """One set of images.

    Attributes:
        images: prepared, bytes (n, 3, h, w).
        labels: int64 (n,).
        split: which images they are; test images are fitted to nowhere.
        groups: value of the confounder of each (n).
        vectors: of the image tower, each of length one, (n, d).
        pooled: cosines of patches with the concepts (n, N), by pooling; empty where the tower has no patches.
        truth: which concepts each image shows, int64 (n, N); None where it is not known.
    """

    images: Tensor
    labels: Tensor
    split: Split | None
    groups: tuple[str, ...]
    vectors: Tensor
    pooled: Mapping[str, Tensor]
    truth: NDArray[np.int64] | None = None

    def examples(self) -> ImageStore:
        """What a training reads; it refuses test images."""
        return ImageStore.of_tensors(self.images, self.labels, split=self.split)


@dataclass(frozen=True, eq=False)
class Judged:
    """Decisions on the images as in training and on the reversed ones, judged.

    Attributes:
        shift: the figures.
        right: as in training, bool (n,).
        right_in_worst: of the images of the worst group over both sets, bool (w,).
    """

    shift: ShiftFigures
    right: NDArray[np.bool_]
    right_in_worst: NDArray[np.bool_]

    def as_figures(self, name: str) -> dict[str, Figure]:
        """The figures of :meth:`ShiftFigures.as_figures`; ``NAME.id`` and ``NAME.worst`` have a value for each image.

        The worst group is that of these decisions: two ways of deciding may have different ones, which are not paired.
        """
        samples = {f"{name}.id": Sample.of(self.right), f"{name}.worst": Sample.of(self.right_in_worst)}
        return {**self.shift.as_figures(name), **samples}


@dataclass(frozen=True, eq=False, kw_only=True)
class Material:
    """A task.

    Attributes:
        tower: frozen.
        class_count: k.
        concepts: filtered.
        leaked: the same with what the filter dropped, for the row that shows what a leak does.
        train: fitted to.
        val: chooses penalties and epochs; confounded as training is.
        test: confounded as training is.
        reversed: confounded the other way round; nothing is chosen on it.
        seed: of the run.
    """

    tower: TwoTower
    class_count: int
    concepts: Concepts
    leaked: Concepts
    train: Part
    val: Part
    test: Part
    reversed: Part
    seed: int

    def judged(self, on_test: Tensor, on_reversed: Tensor) -> Judged:
        """Figures of decisions (n,) on ``test`` and ``reversed``."""
        parts, decisions = (self.test, self.reversed), (on_test.numpy(), on_reversed.numpy())
        labels = (self.test.labels.numpy(), self.reversed.labels.numpy())
        found = shift_figures(labels, (self.test.groups, self.reversed.groups), decisions)
        right = [made == label for made, label in zip(decisions, labels, strict=True)]
        groups = [
            f"{label} | {group}"
            for part in parts
            for label, group in zip(part.labels.tolist(), part.groups, strict=True)
        ]
        return Judged(found, right[0], np.concatenate(right)[np.array(groups) == found.worst_group])


def scene_material(
    tower: TwoTower, finding: Finding, sizes: Sizes, seed: int, *, strength: float, progress: Progress | None = None
) -> Material:
    """A task of drawn scenes; the reversed set has the strength 1 − ``strength``, and scenes of its own."""
    said = concepts()

    def part(split: Split, count: int, level: float, first: int = 0) -> Part:
        images = findings(split, count, seed, finding, strength=level, first=first)
        return encoded(images, tower, said, truth(scenes_of(images), said.phrases), progress)

    return Material(
        tower=tower,
        class_count=len(CLASSES),
        concepts=said,
        leaked=concepts(leak=True),
        train=part("train", sizes.train, strength),
        val=part("val", sizes.val, strength),
        test=part("test", sizes.test, strength),
        reversed=part("test", sizes.test, 1 - strength, sizes.test),
        seed=seed,
    )


def encoded(
    images: ImageSet,
    tower: TwoTower,
    said: Concepts,
    shown: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> Part:
    """Prepare and encode the usable images of a set; ``group`` is the confounder."""
    listener, pixels, rows = progress or Silent(), list[Tensor](), list[int]()
    listener.begin("encoding", len(images))
    groups = images.column("group")
    has_patches = isinstance(tower.image_tower, ImageTower) and tower.image_tower.has_patches
    directions = concept_vectors(tower, said.phrases)
    vectors, pooled = list[Tensor](), {pooling: list[Tensor]() for pooling in POOLINGS if has_patches}
    with torch.no_grad():
        for batch in prepared_batches(images, tower.preparation, _BATCH):
            listener.advance("encoding", len(batch.ids) + len(batch.rejected))
            if not batch.ids:
                continue
            pixels.append(batch.pixels)
            rows += batch.indices
            seen = to_unit(batch.pixels)
            vectors.append(F.normalize(tower.encode_images(seen), dim=1).cpu())
            if has_patches:
                patches = tower.encode_patches(seen).flatten(1, 2)
                for pooling, found in pooled.items():
                    found.append(pooled_cosines(patches, directions, pooling).cpu())
    listener.finish("encoding")
    return Part(
        images=torch.cat(pixels),
        labels=torch.from_numpy(images.labels[rows]),
        split=images.split,
        groups=tuple(str(groups[row]) for row in rows),
        vectors=torch.cat(vectors),
        pooled={pooling: torch.cat(found) for pooling, found in pooled.items()},
        truth=None if shown is None else shown[rows],
    )
