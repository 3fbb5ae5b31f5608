"""The published data on a GPU: SegFormer-B2 on DiffSeg30k, its robustness, and whole images.

The data set (hub name Chaos2629/Diffseg30k, Apache-2.0) comes by path, and nothing is downloaded: a folder with
``train/`` and ``validation/``, in each NNNNNNNN.image.png beside NNNNNNNN.mask.png. Which model a label stands for is
not published; labels are numbered. Images are read one batch at a time, as tiles of 512 pixels that are never rescaled.
Estimated from numbers of steps and not measured: 40,000 steps of 16 tiles take a day and 30 GB of one GPU.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import Split
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.metrics.auroc import auroc
from snellen.reproduction.sample import Figure
from snellen.systems.edited_regions.detecting import found_regions
from snellen.systems.edited_regions.distortions import JPEG_QUALITIES, RESIZE_FACTORS, Distortion
from snellen.systems.edited_regions.fitting import new_network, objective_of
from snellen.systems.edited_regions.labels import IGNORED, read_labels
from snellen.systems.edited_regions.measures import confusion, localised
from snellen.systems.edited_regions.networks import Architecture, RegionNetwork
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

DATA = "SNELLEN_DIFFSEG30K"

#: Models that edited.
EDITORS = 8

#: Side of tiles and windows, pixels.
TILE = 512

#: As SegFormer is customarily trained; the paper's own numbers are not known.
PLAN = TrainingPlan(
    epochs=16, batch_size=16, learning_rate=6e-5, schedule="linear", warmup_steps=1500, mixed_precision="bf16"
)


def full(
    seed: int,
    progress: Progress,
    *,
    architecture: Architecture = "segformer",
    plan: TrainingPlan = PLAN,
    tile: int = TILE,
) -> Mapping[str, Figure]:
    """Figures on the validation split: clean, after each distortion, and of whole images.

    Args:
        seed: of weights and order.
        progress: callback that receives progress updates.
        architecture: of the segmenter; its trunk begins from random weights.
        plan: all numbers of the training.
        tile: side of tiles and windows, pixels.

    Raises:
        InputError: the variable is not set, or the folder holds no such images.
    """
    if not os.environ.get(DATA):
        raise InputError(f"the full experiment needs {DATA}: the folder of DiffSeg30k with train/ and validation/")
    root = Path(os.environ[DATA])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tiles = FileTiles.of(root / "train", tile)
    network = new_network(architecture, EDITORS, seed=seed)
    seeded = plan.model_copy(update={"seed": seed})
    trained = train(network, tiles, plan=seeded, objective=objective_of(None, crop=tile), progress=progress)
    network.load_state_dict(dict(trained.weights))
    network.eval().requires_grad_(False).to(device)
    distorted = [f"jpeg:{one}" for one in JPEG_QUALITIES] + [f"scale:{one}" for one in RESIZE_FACTORS]
    figures = _measured(network, root, tile, None)
    for text in distorted:
        name = text.replace(":", "").replace(".", "")
        figures |= {
            f"{name}.{key}": value for key, value in _measured(network, root, tile, Distortion.read(text)).items()
        }
    return figures


def _measured(network: RegionNetwork, root: Path, tile: int, distortion: Distortion | None) -> dict[str, Figure]:
    matrix, shares, edited = np.zeros((EDITORS + 1,) * 2, dtype=np.int64), list[float](), list[bool]()
    for name, pixels, labels in pairs(root / "validation"):
        image, truth = pixels, labels
        if distortion is not None:
            image = distortion.images(pixels[None], Randomness(0).for_examples([name]))[0]
            truth = distortion.labels(labels)
        (found,) = found_regions(network, image[None], window=tile)
        matrix += confusion(truth, found.labels, EDITORS + 1)
        shares.append(found.share)
        edited.append(bool(((truth > 0) & (truth != IGNORED)).any()))
    measured, both = localised(matrix), np.array(edited)
    return {
        "iou": measured.iou,
        "binary_miou": measured.binary_miou,
        "semantic_miou": measured.semantic_miou,
        "editor_miou": measured.editor_miou,
        "attribution": measured.attribution,
        "image.auroc": auroc(both, np.array(shares)) if both.any() and not both.all() else None,
    }


def files(folder: Path) -> list[tuple[Path, Path]]:
    """Images with their label maps, by name.

    Raises:
        InputError: none, or an image without a label map.
    """
    found = sorted(folder.glob("*.image.png"))
    pairs_ = [(one, one.with_name(one.name.replace(".image.png", ".mask.png"))) for one in found]
    lacking = [image.name for image, mask in pairs_ if not mask.is_file()]
    if not found or lacking:
        raise InputError(
            f"{folder} holds {len(found)} files *.image.png, {len(lacking)} of them without *.mask.png "
            f"({', '.join(lacking[:3])}); expected the unpacked DiffSeg30k"
        )
    return pairs_


def pairs(folder: Path) -> Iterator[tuple[str, Tensor, NDArray[np.uint8]]]:
    """Name, bytes (3, h, w) and labels (h, w) of each image, one after the other."""
    for image, mask in files(folder):
        yield image.name, *_opened(image, mask)


def _opened(image: Path, mask: Path) -> tuple[Tensor, NDArray[np.uint8]]:
    try:
        with Image.open(image, formats=("PNG",)) as opened:
            pixels = np.asarray(opened.convert("RGB"))
    except OSError as error:
        raise InputError(f"{image} cannot be read: {error}; remove it and its mask first") from error
    try:
        labels = read_labels(mask.read_bytes(), (pixels.shape[1], pixels.shape[0]), EDITORS, what=str(mask))
    except RejectedImageError as error:
        raise InputError(f"{error}; remove it and its image first") from error
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1), labels


@dataclass(frozen=True, eq=False)
class FileTiles:
    """Tiles of images on the disk, as a training takes them; what a tile lacks at the frame is not judged.

    Attributes:
        tiles: image, label map, top and left of each tile.
        side: of a tile, pixels.
    """

    tiles: tuple[tuple[Path, Path, int, int], ...]
    side: int
    split: Split | None = "train"
    rejected: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, side: int) -> FileTiles:
        """Tiles side by side over each image; only the headers are read."""
        found = []
        for image, mask in files(folder):
            with Image.open(image, formats=("PNG",)) as opened:
                width, height = opened.size
            tops, lefts = range(0, max(1, height - side // 2), side), range(0, max(1, width - side // 2), side)
            found += [(image, mask, top, left) for top in tops for left in lefts]
        return cls(tuple(found), side)

    @property
    def ids(self) -> tuple[str, ...]:
        """Name of each tile."""
        return tuple(f"{image.name} {top} {left}" for image, _, top, left in self.tiles)

    @property
    def weights(self) -> Tensor:
        """1 for each."""
        return torch.ones(len(self.tiles))

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Bytes (n, 3, side, side) and labels (n, side, side)."""
        images = torch.zeros(len(positions), 3, self.side, self.side, dtype=torch.uint8)
        labels = torch.full((len(positions), self.side, self.side), IGNORED, dtype=torch.uint8)
        for at, position in enumerate(positions.tolist()):
            image, mask, top, left = self.tiles[position]
            pixels, known = _opened(image, mask)
            part = pixels[:, top : top + self.side, left : left + self.side]
            images[at, :, : part.shape[1], : part.shape[2]] = part
            labels[at, : part.shape[1], : part.shape[2]] = torch.from_numpy(
                known[top : top + self.side, left : left + self.side].copy()
            )
        return images, labels

    def fingerprint(self) -> str:
        """Hash of names, sizes and places (sha256, hex); 21 GB of pixels are not read twice."""
        rows = [
            f"{image.name} {image.stat().st_size} {mask.stat().st_size} {top} {left}"
            for image, mask, top, left in self.tiles
        ]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()
