"""A trained detector as a folder: how it is read again, and images with label maps out of a set of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from snellen.systems.edited_regions.labels import IGNORED, MOST_EDITORS, read_labels
from snellen.systems.edited_regions.made_set import RECORD, read_made
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
        threshold: share of edited pixels from which on an image is called edited, chosen on validation images; infinity
            where no share was better than to call nothing edited.
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
        chosen, window = built.pop("threshold"), int(built.pop("window"))
        threshold = math.inf if chosen is None else float(chosen)
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


def editors_of(images: ImageSet, named: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the labels 1 to n: those in the record beside the table of images, or the given ones.

    Args:
        images: of a manifest.
        named: as the caller names them; none: the record decides.

    Returns:
        Nothing where neither is there: labels are then numbered.

    Raises:
        InputError: the record cannot be read, or names other editors than the caller.
    """
    source = images.source
    if not isinstance(source, FileSource) or not (source.root / RECORD).is_file():
        return tuple(named)
    known = read_made(source.root).editors
    recorded = tuple(known[label] for label in sorted(known))
    if sorted(known) != list(range(1, len(known) + 1)):
        raise InputError(f"{source.root / RECORD} names labels {sorted(known)}; expected 1 to {len(known)}")
    if named and tuple(named) != recorded:
        raise InputError(
            f"--editors names {', '.join(named)}, and {source.root / RECORD} {', '.join(recorded)}, in this order; "
            f"leave --editors out"
        )
    return recorded


def label_maps_of(images: ImageSet, editors: int) -> tuple[LabelledImages, dict[str, str]]:
    """Images at their own size with their label maps, and why others cannot be used.

    A label that no editor has is an error, and no reason to leave an image out: a wrong number of editors would take
    away the images of the others.

    Args:
        images: of a manifest with the column ``edits``, as :func:`~.making.make_edits` writes it.
        editors: their number n; :data:`~.labels.MOST_EDITORS` where it is not known.

    Raises:
        InputError: no such column, no usable image, images of several sizes, or labels above n.
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
            found = read_labels(content, shown.size, MOST_EDITORS, what=str(path))
        except RejectedImageError as error:
            rejected[name] = str(error)
            continue
        pixels.append(torch.from_numpy(np.array(shown)).permute(2, 0, 1).contiguous())
        labels.append(torch.from_numpy(found.copy()))
        kept.append(name)
    _check_known(images.name, labels, editors)
    sizes = sorted({tuple(one.shape[1:]) for one in pixels})
    if len(sizes) != 1:
        first = next(iter(rejected.items()), None)
        raise InputError(
            f"{images.name}: images and label maps of one size are needed, since none is rescaled; got "
            f"{[f'{w} x {h}' for h, w in sizes][:5] or 'none'}" + ("" if first is None else f"; {first[0]}: {first[1]}")
        )
    return LabelledImages(torch.stack(pixels), torch.stack(labels), tuple(kept)), rejected


def _check_known(name: str, labels: Sequence[Tensor], editors: int) -> None:
    unknown = [sorted({int(one) for one in each.unique()} - {*range(editors + 1), IGNORED}) for each in labels]
    affected = [found for found in unknown if found]
    if affected:
        raise InputError(
            f"{name}: {len(affected)} of {len(labels)} label maps have labels that no editor has "
            f"({sorted({label for found in affected for label in found})[:5]}; there are {editors} editors); name all "
            f"editors in the order of their labels, or leave --editors out"
        )
