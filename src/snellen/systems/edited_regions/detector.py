"""A trained detector as a folder: how it is read again, and images with label maps out of a set of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snellen.core.artifact import Artifact, Card
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.data.files.contained_file import read_file
from snellen.data.files.file_source import FileSource
from snellen.models.weights.state_dict_file import load_strictly
from snellen.systems.edited_regions.fitting import LabelledImages
from snellen.systems.edited_regions.labels import read_labels
from snellen.systems.edited_regions.networks import RegionNetwork

#: What a card calls the network.
NAME = "edited_regions"

#: How a reference to an artifact begins; a bare folder will do.
ARTIFACT = "artifact:"

#: Column of a manifest that names the label map of each image.
COLUMN = "edits"


@dataclass(frozen=True, eq=False)
class Detector:
    """A trained segmenter, frozen and in evaluation mode.

    Attributes:
        network: see :class:`~snellen.systems.edited_regions.networks.RegionNetwork`.
        editors: names of labels 1 to n.
        threshold: share of edited pixels from which on an image is called edited, chosen on validation images.
        window: side of the windows that it was trained with, pixels.
        card: of the artifact.
    """

    network: RegionNetwork
    editors: tuple[str, ...]
    threshold: float
    window: int
    card: Card


def load_detector(reference: str, device: torch.device | str = "cpu") -> Detector:
    """Load what the recipe ``edited_regions`` trained.

    Args:
        reference: ``artifact:FOLDER``, or a folder.
        device: where it runs.

    Raises:
        InputError: no artifact, one of another kind, or weights that do not fit.
    """
    folder = Path(reference.removeprefix(ARTIFACT))
    artifact = Artifact.load(folder)
    built: dict[str, Any] = dict(artifact.card.architecture)
    if artifact.card.kind != "segmenter" or built.pop("name", None) != NAME:
        raise InputError(
            f"{folder} is of the kind {artifact.card.kind!r}; expected a detector of edited regions, as 'snellen train "
            f"edited-regions' makes one"
        )
    try:
        threshold, window = float(built.pop("threshold")), int(built.pop("window"))
        with torch.random.fork_rng(devices=[]):
            network = RegionNetwork(**built)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / 'card.json'}: no detector can be built from {built}: {error}") from error
    names = tuple(artifact.card.class_names[1:])
    if len(names) != network.editors:
        raise InputError(f"{folder / 'card.json'} names {len(names)} editors, and its network has {network.editors}")
    load_strictly(network, artifact.tensors, source=str(folder / "weights.safetensors"))
    network.eval().requires_grad_(False)
    return Detector(network.to(device), names, threshold, window, artifact.card)


def label_maps_of(images: ImageSet, editors: int) -> tuple[LabelledImages, dict[str, str]]:
    """Images at their own size with their label maps, and why others cannot be used.

    Args:
        images: of a manifest with the column ``edits``, as :func:`~.making.make_edits` writes it.
        editors: their number n.

    Raises:
        InputError: no such column, no usable image, or images of several sizes.
    """
    paths = images.column(COLUMN)
    source = images.source
    if all(path is None for path in paths) or not isinstance(source, FileSource):
        raise InputError(
            f"{images.name} names no label maps: expected the manifest of a made set, with the column {COLUMN!r}"
        )
    pixels, labels, kept, rejected = list[Tensor](), list[Tensor](), list[str](), dict[str, str]()
    for row, (name, path) in enumerate(zip(images.ids, paths, strict=True)):
        try:
            if path is None:
                raise RejectedImageError(f"it has no label map in the column {COLUMN!r}")
            shown = images.read(row)
            content = read_file(source.mask_root, str(path), source.limits.max_bytes)
            found = read_labels(content, shown.size, editors, what=str(path))
        except RejectedImageError as error:
            rejected[name] = str(error)
            continue
        pixels.append(torch.from_numpy(np.array(shown)).permute(2, 0, 1).contiguous())
        labels.append(torch.from_numpy(found.copy()))
        kept.append(name)
    sizes = sorted({tuple(one.shape[1:]) for one in pixels})
    if len(sizes) != 1:
        first = next(iter(rejected.items()), None)
        raise InputError(
            f"{images.name}: images and label maps of one size are needed, since none is rescaled; got "
            f"{[f'{w} x {h}' for h, w in sizes][:5] or 'none'}" + ("" if first is None else f"; {first[0]}: {first[1]}")
        )
    return LabelledImages(torch.stack(pixels), torch.stack(labels), tuple(kept)), rejected
