"""Label maps on the disk: one file of rows that is mapped into memory, and written so that a stopped call resumes.

``label-maps.npy`` is a NumPy array with one row for each image: values (float16) and classes (int16, or int32 for more
than 32,767 classes) of the scores that each place kept, width and height of the image as it was decoded, and the hash
of its content. With m scores at each of h · w places that is 4 · m · h · w + 40 bytes, where all k classes as float32
would be 4 · k · h · w. ``label-maps.json`` is written last and holds the ids, the classes, and the hash of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.progress import Progress, Silent
from snellen.models.encoders.row_file import MadeRows, RowFiles, check_hash, compare, has_record, open_rows, write_rows
from snellen.systems.label_maps.sparse import SparseMaps

FILES = RowFiles("label maps", "annotator", "label-maps.npy", "label-maps.json")
ROWS, RECORD = FILES.rows, FILES.record

#: More classes than this need four bytes for an index.
_MOST_OF_TWO_BYTES = 32_767


class MapsRecord(BaseModel):
    """What a folder of label maps holds. Rows of a map run downwards, columns to the right (axes h, w)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    plan: dict[str, Any] = Field(description="what they were made by: annotator, side, scores kept")
    class_names: tuple[str, ...]
    kept: int = Field(ge=1, description="scores kept at each place")
    height: int = Field(ge=1, description="rows of a map")
    width: int = Field(ge=1, description="columns of a map")
    ids: tuple[str, ...] = Field(description="images, in the order of the rows")
    rejected: dict[str, str] = Field(default_factory=dict, description="images without a map: id → reason")
    sha256: str = Field("", description="hash of the file of rows")

    def row_type(self) -> np.dtype[np.void]:
        """Type of one row."""
        shape = (self.kept, self.height, self.width)
        index = "<i2" if len(self.class_names) <= _MOST_OF_TWO_BYTES else "<i4"
        return np.dtype(
            [
                ("values", "<f2", shape),
                ("indices", index, shape),
                ("size", "<i4", (2,)),  # width and height of the decoded image; 0 where not known
                ("content", "u1", (32,)),  # sha256 of the image's stored bytes; zeros where not known
            ]
        )


@dataclass(frozen=True, eq=False)
class LabelMaps:
    """Label maps of images by id, read from the disk when they are needed.

    Attributes:
        folder: where they lie.
        record: what they are.
    """

    folder: Path
    record: MapsRecord

    @classmethod
    def load(cls, folder: Path, *, verify: bool = True) -> LabelMaps:
        """Open a folder that :func:`~snellen.systems.label_maps.annotating.annotate` or an importer wrote.

        Args:
            folder: holds ``label-maps.json`` and ``label-maps.npy``.
            verify: whether the rows are read once and compared with the hash in the record.

        Raises:
            InputError: no label maps, unfinished ones, or damaged ones.
        """
        path = folder / RECORD
        if not path.is_file():
            state = "unfinished; make them again with the same annotator and images" if folder.is_dir() else "not there"
            raise InputError(f"the label maps in {folder} are {state}")
        try:
            record = MapsRecord.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise InputError(f"{path} is no record of label maps; make them again") from error
        maps = cls(folder, record)
        rows = maps.rows
        if rows.dtype != record.row_type() or rows.shape != (len(record.ids),):
            raise InputError(f"{folder / ROWS} does not hold what {RECORD} says; make the label maps again")
        if verify:
            check_hash(folder, FILES, record.sha256)
        return maps

    def __len__(self) -> int:
        return len(self.record.ids) - len(self.record.rejected)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that indices stand for."""
        return self.record.class_names

    @cached_property
    def rows(self) -> NDArray[np.void]:
        """All rows, mapped into memory: one is read from the disk when it is used."""
        return open_rows(self.folder, FILES)

    @cached_property
    def places(self) -> dict[str, int]:
        """Row of each image that has a map."""
        return {one: row for row, one in enumerate(self.record.ids) if one not in self.record.rejected}

    def row_of(self, example_id: str) -> int | None:
        """Row of an image, None without a map.

        "train/x" is found as "x" too: joining sets puts their split before ids.
        """
        found = self.places.get(example_id)
        return self.places.get(example_id.removeprefix("train/")) if found is None else found

    def read(self, rows: Tensor | NDArray[np.int64]) -> SparseMaps:
        """The maps of these rows, as float32 and int64.

        Raises:
            InputError: a value that is not finite, or the index of no class.
        """
        chosen = self.rows[np.asarray(rows)]
        values, indices = chosen["values"].astype(np.float32), chosen["indices"].astype(np.int64)
        wrong = ~np.isfinite(values) | (indices < 0) | (indices >= len(self.class_names))
        if wrong.any():
            row = int(np.asarray(rows)[wrong.any((1, 2, 3)).argmax()])
            raise InputError(
                f"the label map of {self.record.ids[row]!r} holds scores that are not finite, or indices of no class"
            )
        return SparseMaps(torch.from_numpy(values), torch.from_numpy(indices))


@dataclass(frozen=True, eq=False)
class MappedImages:
    """Some consecutive images with their maps.

    Attributes:
        maps: one for each image that is not rejected.
        sizes: width and height of each image that is not rejected; 0 where unknown.
        contents: hash of the stored bytes of each image that is not rejected (sha256, hex); empty where unknown.
        rejected: position within these images → why it has no map.
    """

    maps: SparseMaps
    sizes: Sequence[tuple[int, int]]
    contents: Sequence[str]
    rejected: dict[int, str] = field(default_factory=dict)


def existing_maps(out: Path, plan: dict[str, object], ids: Sequence[str]) -> LabelMaps | None:
    """Complete maps of this plan and these images in a folder; None where there are none yet.

    Raises:
        RunConflictError: maps of another plan or of other images.
        InputError: the folder holds something else.
    """
    if not has_record(out, FILES):
        return None
    found = LabelMaps.load(out)
    compare(out, FILES, found.record.plan, plan, found.record.ids, ids)
    return found


def write_maps(
    out: Path,
    record: MapsRecord,
    produce: Callable[[int, int], MappedImages],
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> LabelMaps:
    """Write the maps of all images of a record; what an earlier call wrote and its hash confirms is kept.

    Args:
        out: folder of the maps, free or unfinished.
        record: without ``rejected`` and ``sha256``.
        produce: (first, one after the last) → their maps.
        batch_size: images that are made and confirmed together.
        progress: callback that receives progress updates.

    Raises:
        RunConflictError: the folder holds unfinished maps of another plan or of other images.
        InputError: no image has a map; scores that do not fit into float16.
    """
    write_rows(
        out,
        FILES,
        plan={**record.plan, "classes": list(record.class_names)},
        ids=record.ids,
        dtype=record.row_type(),
        produce=lambda start, stop, _: _rows(start, stop, produce(start, stop), record),
        finish=lambda rejected, sha256: (
            record.model_copy(update={"rejected": rejected, "sha256": sha256}).model_dump_json().encode()
        ),
        shard=batch_size,
        progress=progress or Silent(),
    )
    return LabelMaps.load(out, verify=False)


def _rows(start: int, stop: int, made: MappedImages, record: MapsRecord) -> MadeRows:
    """Rows as they are stored; those of rejected images are zeros."""
    kept = np.array([start + position for position in range(stop - start) if position not in made.rejected], dtype=int)
    if len(kept) != len(made.maps):
        raise InputError(f"{len(kept)} images came with {len(made.maps)} label maps")
    fresh = np.zeros(stop - start, dtype=record.row_type())
    if len(kept):
        values = made.maps.values.cpu().numpy()
        if not np.isfinite(values).all() or np.abs(values).max() > np.finfo(np.float16).max:
            raise InputError("scores of a label map must be finite and fit into float16 (at most 65,504)")
        indices = made.maps.indices.cpu().numpy()
        if indices.min() < 0 or indices.max() >= len(record.class_names):
            raise InputError(f"a label map has indices outside the {len(record.class_names)} classes")
        fresh["values"][kept - start], fresh["indices"][kept - start] = values.astype(np.float16), indices
        fresh["size"][kept - start] = made.sizes
        hashes = [bytes.fromhex(content or "00" * 32) for content in made.contents]
        fresh["content"][kept - start] = np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, 32)
    return MadeRows(fresh, made.rejected)
