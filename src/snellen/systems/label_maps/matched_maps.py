"""The label maps of a training set: one row for each of its examples, checked against the images as they were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import ImageSource
from snellen.systems.label_maps.sparse import SparseMaps, pooled_scores, whole_boxes
from snellen.systems.label_maps.store import LabelMaps


@dataclass(eq=False)
class MeasuredSource:
    """A source that notes the size of every image that is read, and its content hash.

    Label maps need the shape of the original where the training frame was squeezed, and images are decoded once.
    """

    source: ImageSource
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)

    def read(self, index: int) -> Image.Image:
        """Decode one image."""
        image = self.source.read(index)
        self.sizes[index] = (image.width, image.height)
        return image

    def content_hash(self, index: int) -> str:
        """Hash of the stored bytes of one image (sha256, hex)."""
        return self.source.content_hash(index)


@dataclass(frozen=True, eq=False)
class MatchedMaps:
    """Maps by position in the training set.

    Attributes:
        maps: on the disk.
        rows: row of each example in them, int64 (n,); −1 without a map.
        aspects: width over height of each original image, float32 (n,).
        agreement: share of the labelled examples with a map whose label is kept at some place of the map.
        likeliest: share of them whose label is the likeliest class of the whole map: the annotator's accuracy here,
            which a student of these maps will hardly surpass.
    """

    maps: LabelMaps
    rows: Tensor
    aspects: Tensor
    agreement: float
    likeliest: float

    def of(self, positions: Tensor) -> tuple[SparseMaps, Tensor]:
        """Maps of the examples at these positions that have one, and where these stand among the positions."""
        rows = self.rows[positions]
        having = (rows >= 0).nonzero().flatten()
        return self.maps.read(rows[having]), having


def look_up(
    maps: LabelMaps,
    ids: Sequence[str],
    *,
    class_names: Sequence[str],
    labels: Tensor,
    sizes: Mapping[str, tuple[int, int]],
    contents: Mapping[str, str],
    without: bool = False,
) -> MatchedMaps:
    """Find the map of each example, and refuse maps that are not of these images.

    Args:
        maps: label maps.
        ids: of the examples (n).
        class_names: of the images; those of the maps must be the same, in the same order.
        labels: class index of each example, int64 (n,), −1 where unknown.
        sizes: width and height of each image as the training decoded it.
        contents: hash of the stored bytes of each image.
        without: whether examples without a map will do.

    Raises:
        InputError: maps of other classes; an example without a map; an image that has changed since, or that is turned
            otherwise than when the maps were made.
    """
    if tuple(class_names) != maps.class_names:
        raise InputError(_other_classes(class_names, maps.class_names))
    found = [maps.row_of(one) for one in ids]
    lacking = [one for one, row in zip(ids, found, strict=True) if row is None]
    if lacking and (not without or len(lacking) == len(ids)):
        reasons = [maps.record.rejected.get(one, "unknown to the maps") for one in lacking[:3]]
        told = ", ".join(f"{one!r} ({reason})" for one, reason in zip(lacking, reasons, strict=False))
        raise InputError(
            f"{len(lacking)} of {len(ids)} images have no label map in {maps.folder}: {told}"
            f"{', …' if len(lacking) > 3 else ''}. Make the maps from these images, or train such images on their "
            f"labels (without_map='label')"
        )
    for one, row in zip(ids, found, strict=True):
        if row is not None:
            _check_image(one, maps, row, sizes[one], contents[one])
    rows = torch.tensor([-1 if row is None else row for row in found])
    aspects = torch.tensor([sizes[one][0] / sizes[one][1] for one in ids])
    return MatchedMaps(maps, rows, aspects, *_agreement(maps, rows, labels))


def _check_image(example_id: str, maps: LabelMaps, row: int, size: tuple[int, int], content: str) -> None:
    held = tuple(maps.rows[row]["size"].tolist())
    if held != (0, 0) and held != size:
        turned = " (turned: the orientation in its EXIF data was not read alike)" if held == size[::-1] else ""
        raise InputError(
            f"image {example_id!r} is {size[0]} x {size[1]} pixels, but was {held[0]} x {held[1]} when its label map "
            f"was made{turned}; make the label maps again from these images"
        )
    hashed = maps.rows[row]["content"].tobytes()
    if any(hashed) and hashed.hex() != content:
        raise InputError(
            f"image {example_id!r} is not the image of its label map: its content has changed. Make the label maps "
            f"again from these images"
        )


def _agreement(maps: LabelMaps, rows: Tensor, labels: Tensor, at_once: int = 1024) -> tuple[float, float]:
    """Shares of the labelled examples whose label is kept somewhere, and is the likeliest; 1 without any."""
    known = ((rows >= 0) & (labels >= 0)).nonzero().flatten()
    if not len(known):
        return 1.0, 1.0
    somewhere = likeliest = 0
    for part in known.split(at_once):
        read = maps.read(rows[part])
        somewhere += int(read.shows(labels[part]).sum())
        scores = pooled_scores(read, whole_boxes(len(part)), len(maps.class_names))
        likeliest += int((scores.argmax(1) == labels[part]).sum())
    return somewhere / len(known), likeliest / len(known)


def _other_classes(wanted: Sequence[str], held: Sequence[str]) -> str:
    if set(wanted) == set(held):
        reason = "the same classes in another order"
    else:
        odd = sorted(set(wanted) ^ set(held))
        reason = f"other classes ({', '.join(odd[:3])}{', …' if len(odd) > 3 else ''})"
    return (
        f"the label maps are of {len(held)} classes and the images of {len(wanted)}: {reason}; make the maps from "
        f"these images"
    )
