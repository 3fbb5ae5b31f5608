"""What the experiment of system 22 is made of: sizes, editors, made sets, and figures of one segmenter."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.models.diffusion.editor import Editor
from snellen.systems.edited_regions.detecting import Regions, in_batches
from snellen.systems.edited_regions.fitting import LabelledImages, fit_segmenter, new_network
from snellen.systems.edited_regions.labels import composite
from snellen.systems.edited_regions.made_set import MadeSet, Provenance
from snellen.systems.edited_regions.making import EditSettings, make_edits
from snellen.systems.edited_regions.measures import class_iou, confusion
from snellen.systems.edited_regions.networks import RegionNetwork
from snellen.systems.edited_regions.scene_bases import drawn_scenes, photographs, scene_bases
from snellen.systems.edited_regions.scene_program import ScenePlanner, paint_scene
from snellen.systems.edited_regions.small_editors import Decoder, EditorNetwork, SmallEditor, fit_editor
from snellen.training.plan import TrainingPlan

#: Side of the images, and of the crops of training, pixels.
SIDE, CROP = 64, 48

#: Decoders of the editors, and that of the generator of bases, which is none of them.
EDITORS: tuple[Decoder, ...] = ("nearest", "transposed3", "shuffle", "quantised")
BASES: Decoder = "bilinear"

#: The editor that is left out of a second training.
LEFT: Decoder = "shuffle"

#: Share of the bases that are generated.
GENERATED = 0.2


@dataclass(frozen=True)
class Size:
    """How much is made and trained.

    Attributes:
        bases: base images; a fifth of them are for tests.
        editor_images: images that editors learn from.
        editor_epochs: passes of an editor's training.
        epochs: passes of a segmenter's training, and of the whole-image network's.
        width: channels of the first block.
        least_score: of an edit that is kept.
    """

    bases: int
    editor_images: int
    editor_epochs: int
    epochs: int
    width: int
    least_score: float

    def plan(self, seed: int) -> TrainingPlan:
        """One plan for segmenters and the whole-image network."""
        return TrainingPlan(epochs=self.epochs, batch_size=16, learning_rate=4e-3, seed=seed)

    def editor_plan(self, seed: int) -> TrainingPlan:
        """Of editors."""
        return TrainingPlan(
            epochs=self.editor_epochs,
            batch_size=16,
            learning_rate=3e-3,
            weight_decay=0.0,
            seed=derive_seed(seed) % 2**31,
        )


SMALL = Size(bases=800, editor_images=400, editor_epochs=8, epochs=20, width=16, least_score=0.6)
SMOKE = Size(bases=24, editor_images=8, editor_epochs=1, epochs=1, width=4, least_score=0.0)


def other_photographs(count: int, seed: int, name: str) -> Tensor:
    """Photographs of scenes and noise of their own, bytes (n, 3, side, side)."""
    scenes = drawn_scenes(count, seed=derive_seed(seed, name) % 2**31)
    return photographs(scenes, SIDE, seed=derive_seed(seed, name, "camera") % 2**31)


def trained_editors(size: Size, seed: int, progress: Progress) -> dict[Decoder, EditorNetwork]:
    """Editors and the generator of bases, on photographs of other scenes, with noise that no base image has."""
    images = other_photographs(size.editor_images, seed, "editors")
    return {
        name: fit_editor(name, images, plan=size.editor_plan(seed), progress=progress) for name in (*EDITORS, BASES)
    }


def editor_figures(networks: dict[Decoder, EditorNetwork], seed: int) -> dict[str, float]:
    """How well editors write photographs, and how much they differ: the largest and smallest mean difference."""
    images = to_unit(other_photographs(32, seed, "judged"))
    written = [SmallEditor(networks[name], paint_scene).written(images) for name in EDITORS]
    pairs = [(one, two) for at, one in enumerate(written) for two in written[at + 1 :]]
    return {
        "editors.error": max(float((one - images).abs().mean()) for one in written),
        "editors.difference": min(float((one - two).abs().mean()) for one, two in pairs),
    }


@dataclass(frozen=True, eq=False)
class Split:
    """Images of a split, and how they were made."""

    labelled: LabelledImages
    records: tuple[Provenance, ...]

    def select(self, chosen: Sequence[bool]) -> Split:
        """Some of the images."""
        rows = torch.tensor(list(chosen), dtype=torch.bool)
        kept = tuple(one for one, keep in zip(self.records, chosen, strict=True) if keep)
        return Split(self.labelled.select(rows), kept)

    def without(self, editor: str) -> Split:
        """Images that an editor took no part in."""
        return self.select([all(turn.editor != editor for turn in one.turns) for one in self.records])

    def only(self, editor: str) -> Split:
        """Untouched images, and those that this editor alone edited."""
        return self.select([all(turn.editor == editor for turn in one.turns) for one in self.records])


def made_splits(
    networks: dict[Decoder, EditorNetwork], size: Size, seed: int, progress: Progress
) -> tuple[MadeSet, dict[str, Split]]:
    """Make a set in a folder of its own, and read it."""
    bases = scene_bases(size.bases, SIDE, seed=seed, generator=networks[BASES], generated=GENERATED)
    editors: dict[str, Callable[[], Editor]] = {
        name: partial(SmallEditor, networks[name], paint_scene) for name in EDITORS
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "made"
        made = make_edits(
            bases,
            editors,
            folder,
            settings=EditSettings(least_score=size.least_score, part=256, batch_size=32),
            seed=seed,
            progress=progress,
        )
        splits = {}
        for split in ("train", "val", "test"):
            own = tuple(one for one in made.images if one.split == split)
            images = torch.stack([_read(folder / "images" / one.file).permute(2, 0, 1) for one in own])
            labels = torch.stack([_read(folder / "labels" / one.file) for one in own])
            splits[split] = Split(LabelledImages(images, labels, tuple(one.id for one in own)), own)
    return made, splits


def _read(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image))


def trained_segmenter(examples: LabelledImages, size: Size, seed: int, progress: Progress) -> RegionNetwork:
    """The small segmenter, with weights for the labels, since untouched pixels are most."""
    network = new_network("small", len(EDITORS), seed=seed, width=size.width)
    trained = fit_segmenter(network, examples, plan=size.plan(seed), crop=CROP, balance=0.5, progress=progress)
    network.load_state_dict(dict(trained.weights))
    return network.eval().requires_grad_(False)


def regions_of(network: RegionNetwork, images: Tensor) -> list[Regions]:
    """What a segmenter finds in byte images, each in one window."""
    return list(in_batches(network, images, window=SIDE))


def untrained_iou(
    levels: Callable[[Tensor], NDArray[np.float32]], images: Tensor, labels: NDArray[np.uint8], val: LabelledImages
) -> float:
    """Binary IoU of levels (errors, residuals) below a threshold that validation images choose among twenty."""
    held = np.stack([levels(one) for one in val.images])
    best, limit = -1.0, 0.0
    for one in np.quantile(held, np.linspace(0.01, 0.6, 20)):
        value = _iou(val.labels.numpy(), held < one)
        best, limit = (value, float(one)) if value > best else (best, limit)
    return _iou(labels, np.stack([levels(one) for one in images]) < limit)


def _iou(labels: NDArray[np.uint8], found: NDArray[np.bool_]) -> float:
    truth = (labels > 0).astype(np.uint8)
    return float(class_iou(confusion(truth, found.astype(np.uint8), 2))[1])


def spliced(seed: int, count: int, *, blurred: bool = False) -> tuple[Tensor, Tensor]:
    """A control: regions of scenes replaced by *another photograph* of the same scene: no editor wrote a pixel.

    Args:
        seed: of scenes and noise.
        count: of images.
        blurred: the region is the mean of nine pixels of the photograph itself instead: smooth, and without an editor.

    Returns:
        Bytes (n, 3, h, w), and the regions, bool (n, h, w).
    """
    scenes = drawn_scenes(count, seed=derive_seed(seed, "spliced") % 2**31)
    first, second = (to_unit(photographs(scenes, SIDE, seed=derive_seed(seed, one) % 2**31)) for one in ("a", "b"))
    if blurred:
        second = functional.avg_pool2d(functional.pad(first, (1, 1, 1, 1), mode="reflect"), 3, 1)
    masks, rng = [], Randomness(seed).child("spliced")
    for at, scene in enumerate(scenes):
        regions = ScenePlanner(scene, SIDE).propose_regions(first[at], rng.for_examples([str(at)]))
        masks.append(regions[at % len(regions)].mask)
    images = [composite(one, two, mask, 2) for one, two, mask in zip(first, second, masks, strict=True)]
    return torch.stack(images).mul(255).round().to(torch.uint8), torch.stack(masks)
