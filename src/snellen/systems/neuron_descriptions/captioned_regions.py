"""Regions with phrases that people wrote: what a describer learns from instead of drawn scenes.

Two forms are read. A **Parquet file** names images of a set by ``id``, a region in each, and a ``phrase``. The region
is a ``mask`` (bytes of a PNG, where everything but 0 is inside), or a box ``left, top, width, height`` in pixels. Rows
of one ``unit`` are its exemplars; without that column, rows of one phrase are. A **folder of MILANNOTATIONS**
(Hernandez et al., ICLR 2022; milan.csail.mit.edu) has ``annotations.csv`` with the columns ``layer, unit, summary``,
and in a folder for each layer ``images.npy`` (u, k, 3, h, w, bytes), ``masks.npy`` (u, k, 1, h, w) and, where units are
not numbered through, ``units.npy``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.systems.neuron_descriptions.captioner import Regions
from snellen.systems.neuron_descriptions.fitting import UnitSentences
from snellen.systems.neuron_descriptions.region_encoder import RegionEncoder

#: What progress calls the pass.
TASK = "reading captioned regions"

#: What a Parquet file must have, and one of these: a mask or a box.
COLUMNS, BOX = ("id", "phrase"), ("left", "top", "width", "height")

#: Rows of a Parquet file that are read together.
_ROWS = 256


@dataclass
class _Unit:
    """Vectors of the regions of one unit, and the phrases for them."""

    vectors: list[Tensor] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)


def captioned_units(
    path: Path,
    data: ImageSet | None,
    encoder: RegionEncoder,
    *,
    exemplars: int,
    sentences: int,
    progress: Progress | None = None,
) -> UnitSentences:
    """Units with sentences, from a Parquet file on images of a set, or from a folder of MILANNOTATIONS.

    Memory holds one vector for each region that is used, and no image.

    Args:
        path: of the file or folder.
        data: images that a Parquet file names; None for a folder, which brings its own.
        encoder: of regions.
        exemplars: regions of each unit, at most: the first ones.
        sentences: of each unit; fewer are repeated in turn, more are left out.
        progress: callback that receives progress updates.

    Raises:
        InputError: no such file or folder, columns or arrays that are missing or do not fit, ids that the images do
            not have, or no region at all.
    """
    if path.is_dir():
        units = milan_units(path, encoder, exemplars, progress)
    elif path.is_file() and data is not None:
        units = _parquet_units(path, data, encoder, exemplars, progress)
    else:
        raise InputError(f"{path} is neither a Parquet file of regions in given images nor a folder of MILANNOTATIONS")
    found = [one for one in units.values() if one.vectors and one.sentences]
    if len(found) < 2:
        raise InputError(f"{path} has {len(found)} units with a region and a phrase; a describer needs two or more")
    vectors = torch.zeros(len(found), exemplars, len(found[0].vectors[0]))
    present = torch.zeros(len(found), exemplars, dtype=torch.bool)
    for row, one in enumerate(found):
        vectors[row, : len(one.vectors)], present[row, : len(one.vectors)] = torch.stack(one.vectors), True
    return UnitSentences(
        Regions(vectors, present), tuple(tuple(islice(cycle(one.sentences), sentences)) for one in found)
    )


def _parquet_units(
    path: Path, data: ImageSet, encoder: RegionEncoder, exemplars: int, progress: Progress | None
) -> dict[str, _Unit]:
    listener, places = progress or Silent(), {name: row for row, name in enumerate(data.ids)}
    units: dict[str, _Unit] = {}
    try:
        opened = pq.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error
    with opened:
        names = set(opened.schema_arrow.names)
        lacking = [name for name in COLUMNS if name not in names]
        if lacking or ("mask" not in names and not set(BOX) <= names):
            raise InputError(
                f"{path} has the columns {', '.join(sorted(names))}; expected {', '.join(COLUMNS)} and a mask (bytes "
                f"of a PNG) or a box ({', '.join(BOX)})"
            )
        listener.begin(TASK, opened.metadata.num_rows)
        for batch in opened.iter_batches(_ROWS):
            for row in batch.to_pylist():
                phrase = str(row["phrase"] or "").strip()
                unit = units.setdefault(str(phrase if row.get("unit") is None else row["unit"]), _Unit())
                if row["id"] not in places:
                    raise InputError(f"{path} names the image {row['id']!r}, which {data.name} does not have")
                if not phrase:
                    raise InputError(f"{path} has a region without a phrase, in the image {row['id']!r}")
                if phrase not in unit.sentences:
                    unit.sentences.append(phrase)
                if len(unit.vectors) < exemplars:
                    picture = np.asarray(data.read(places[row["id"]]).convert("RGB"))
                    mask = _mask(row, picture.shape[:2], path)
                    if mask.any():
                        unit.vectors += _encoded(encoder, picture.transpose(2, 0, 1)[None], mask[None])
            listener.advance(TASK, batch.num_rows)
        listener.finish(TASK)
    return units


def _mask(row: Mapping[str, object], size: tuple[int, ...], path: Path) -> NDArray[np.bool_]:
    """The region of one row, bool (h, w)."""
    drawn = row.get("mask")
    if isinstance(drawn, bytes):
        with Image.open(io.BytesIO(drawn), formats=("PNG",)) as opened:
            mask = np.asarray(opened.convert("L")) > 0
        if mask.shape != size:
            raise InputError(
                f"{path}: the mask of {row['id']!r} has {mask.shape[1]} × {mask.shape[0]} pixels, its image "
                f"{size[1]} × {size[0]}"
            )
        return mask
    if any(row.get(name) is None for name in BOX):
        raise InputError(f"{path}: a region in {row['id']!r} has neither a mask nor a whole box")
    left, top, width, height = (float(str(row[name])) for name in BOX)
    mask = np.zeros(size, dtype=bool)
    mask[max(round(top), 0) : max(round(top + height), 0), max(round(left), 0) : max(round(left + width), 0)] = True
    return mask


def milan_units(
    root: Path, encoder: RegionEncoder, exemplars: int, progress: Progress | None = None
) -> dict[str, _Unit]:
    """Units of a folder of MILANNOTATIONS with what people wrote, by layer and number.

    Arrays are mapped, not read: one unit is in memory at a time.

    Raises:
        InputError: a table or an array that is missing or does not fit.
    """
    told, listener = _annotations(root / "annotations.csv"), progress or Silent()
    units: dict[str, _Unit] = {}
    listener.begin(TASK, len(told))
    for layer in dict.fromkeys(layer for layer, _ in told):
        for number, images, masks in _arrays(root / layer, exemplars):
            sentences = told.get((layer, number))
            if sentences is None:
                continue
            present = masks.reshape(len(masks), -1).any(1)
            if present.any():
                units[f"{layer}/{number}"] = _Unit(_encoded(encoder, images[present], masks[present]), sentences)
            listener.advance(TASK, 1)
    listener.finish(TASK)
    return units


def _annotations(table: Path) -> dict[tuple[str, int], list[str]]:
    if not table.is_file():
        raise InputError(f"{table} is not there; expected a folder of MILANNOTATIONS with annotations.csv")
    found: dict[tuple[str, int], list[str]] = {}
    with table.open(encoding="utf-8", newline="") as opened:
        reader = csv.DictReader(opened)
        if not {"layer", "unit", "summary"} <= set(reader.fieldnames or ()):
            raise InputError(f"{table} has the columns {reader.fieldnames}; expected layer, unit, summary")
        for row in reader:
            if row["summary"].strip():
                found.setdefault((row["layer"], int(row["unit"])), []).append(row["summary"].strip())
    return found


def _arrays(folder: Path, exemplars: int) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.bool_]]]:
    """Number, images (k, 3, h, w) and masks (k, h, w) of each unit of a layer."""
    lacking = [name for name in ("images.npy", "masks.npy") if not (folder / name).is_file()]
    if lacking:
        raise InputError(f"{folder} has no {' and no '.join(lacking)}; MILANNOTATIONS come without pixels of ImageNet")
    images, masks = (_mapped(folder / name) for name in ("images.npy", "masks.npy"))
    if (
        (images.ndim, masks.ndim) != (5, 5)
        or images.shape[:2] != masks.shape[:2]
        or images.shape[3:] != masks.shape[3:]
    ):
        raise InputError(
            f"{folder} has images {images.shape} and masks {masks.shape}; expected (units, k, 3, h, w) and "
            f"(units, k, 1, h, w)"
        )
    numbers: Sequence[int] = range(len(images))
    if (folder / "units.npy").is_file():
        numbers = _mapped(folder / "units.npy").tolist()
    for row, number in enumerate(numbers):
        yield int(number), np.array(images[row, :exemplars]), np.array(masks[row, :exemplars, 0]) > 0


def _mapped(path: Path) -> NDArray[np.generic]:
    """An array of a file, read as far as it is used; objects are refused."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as an array: {error}") from error


def _encoded(encoder: RegionEncoder, images: NDArray[np.uint8], masks: NDArray[np.bool_]) -> list[Tensor]:
    """One vector (d,) for each region: images (n, 3, h, w) in bytes, masks (n, h, w)."""
    pixels = to_unit(torch.from_numpy(np.array(images, dtype=np.uint8)))
    return list(encoder.encode(pixels, torch.from_numpy(masks)))
