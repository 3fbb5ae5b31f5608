"""Frozen features: one pass of an encoder over a set of images, kept on the disk and not computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
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
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.data.loading import prepared_batches
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.row_file import MadeRows, RowFiles, check_hash, compare, has_record, open_rows, write_rows

FILES = RowFiles("features", "encoder", "features.npy", "features.json")


class FeaturesRecord(BaseModel):
    """What a folder of features holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    plan: dict[str, Any] = Field(description="encoder, its identity, and the hash of the images' contents")
    dim: int = Field(ge=1, description="length of a vector")
    ids: tuple[str, ...] = Field(description="images, in the order of the rows")
    rejected: dict[str, str] = Field(default_factory=dict, description="images without features: id → reason")
    sha256: str = Field("", description="hash of the file of rows")


@dataclass(frozen=True, eq=False)
class FrozenFeatures:
    """The vectors of the usable images of a set.

    Attributes:
        features: float32 (n, d), one row for each usable image; mapped from the disk where they are kept there and no
            image is rejected, and else a copy in memory.
        ids: of the usable images (n).
        positions: of the usable images in the set, int64 (n,).
        rejected: id → reason, of the images that are not there.
        encoder: name of the encoder.
        identity: of the encoder (:attr:`~snellen.models.encoders.frozen_encoder.FrozenEncoder.identity`).
    """

    features: Tensor
    ids: tuple[str, ...]
    positions: NDArray[np.int64]
    rejected: dict[str, str] = field(default_factory=dict)
    encoder: str = ""
    identity: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each usable image, by id."""
        return {one: row for row, one in enumerate(self.ids)}

    @classmethod
    def of(cls, features: Tensor, record: FeaturesRecord) -> FrozenFeatures:
        """Features of all images of a record, without the rejected ones."""
        kept = np.array([row for row, one in enumerate(record.ids) if one not in record.rejected], dtype=np.int64)
        return cls(
            features=features if len(kept) == len(record.ids) else features[torch.from_numpy(kept)],
            ids=tuple(record.ids[row] for row in kept),
            positions=kept,
            rejected=dict(record.rejected),
            encoder=str(record.plan["encoder"]),
            identity=str(record.plan["encoder_identity"]),
        )

    @classmethod
    def load(cls, folder: Path, *, verify: bool = True) -> FrozenFeatures:
        """Open a folder that :func:`~snellen.models.encoders.feature_store.frozen_features` wrote.

        Args:
            folder: holds ``features.json`` and ``features.npy``.
            verify: whether the rows are read once and compared with the hash in the record.

        Raises:
            InputError: no features, unfinished ones, or damaged ones.
        """
        record = read_record(folder)
        rows = open_rows(folder, FILES, mode="c")
        if rows.dtype != np.float32 or rows.shape != (len(record.ids), record.dim):
            raise InputError(f"{folder / FILES.rows} does not hold what {FILES.record} says; make the features again")
        if verify:
            check_hash(folder, FILES, record.sha256)
        return cls.of(torch.from_numpy(rows), record)


def read_record(folder: Path) -> FeaturesRecord:
    """The record of a folder of features.

    Raises:
        InputError: no record, or a damaged one.
    """
    path = folder / FILES.record
    if not path.is_file():
        state = "unfinished; make them again with the same encoder and images" if folder.is_dir() else "not there"
        raise InputError(f"the features in {folder} are {state}")
    try:
        return FeaturesRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{path} is no record of features; make them again") from error


#: Why an image is rejected that could be read.
NOT_FINITE = "the encoder's vector is not finite (NaN or infinity)"

#: Batches that are confirmed on the disk together.
_BATCHES_A_SHARD = 8


def frozen_features(
    images: ImageSet,
    encoder: FrozenEncoder,
    *,
    folder: Path | None = None,
    batch_size: int = 64,
    workers: int = 0,
    progress: Progress | None = None,
) -> FrozenFeatures:
    """The features of every usable image of a set.

    Labels are never read. Images that cannot be used, or whose vectors are not finite, have no row and are named in
    ``rejected``. In a folder, a stopped call resumes where it stopped, and complete features are read without running
    the encoder: then each image's stored bytes are hashed, and none is decoded. Another batch size may change the last
    digit.

    Args:
        images: the set.
        encoder: see :func:`~snellen.models.encoders.references.load_encoder`.
        folder: free, unfinished, or complete by the same encoder of the same images; None keeps all in memory.
        batch_size: images encoded together.
        workers: threads that read ahead.
        progress: is called for every image.

    Raises:
        InputError: no images, no usable image, or ``folder`` holds something else.
        RunConflictError: ``folder`` holds features of another encoder or of other images.
    """
    if not len(images):
        raise InputError(f"{images.name} holds no images to encode")
    listener = progress or Silent()
    plan: dict[str, object] = {"encoder": encoder.name, "encoder_identity": encoder.identity}
    if folder is None:
        listener.begin(FILES.what, len(images))
        made = _encoded(images, encoder, batch_size, workers, lambda count: listener.advance(FILES.what, count))
        listener.finish(FILES.what)
        rejected = {images.ids[position]: reason for position, reason in made.rejected.items()}
        if len(rejected) == len(images):
            listed = ", ".join(f"{one} ({reason})" for one, reason in list(rejected.items())[:3])
            raise InputError(f"none of the {len(images)} images of {images.name} can be used: {listed}")
        record = FeaturesRecord(plan=plan, dim=encoder.dim, ids=tuple(images.ids), rejected=rejected)
        return FrozenFeatures.of(torch.from_numpy(made.rows), record)
    plan["contents"] = contents_hash(images, listener)
    complete = has_record(folder, FILES)
    if complete:
        held = read_record(folder)
        compare(folder, FILES, held.plan, plan, held.ids, images.ids)
    else:
        record = FeaturesRecord(plan=plan, dim=encoder.dim, ids=tuple(images.ids))
        write_rows(
            folder,
            FILES,
            plan=plan,
            ids=record.ids,
            dtype=np.float32,
            shape=(encoder.dim,),
            produce=lambda start, stop, advance: _encoded(
                images.select(range(start, stop)), encoder, batch_size, workers, advance
            ),
            finish=lambda rejected, sha256: (
                record.model_copy(update={"rejected": rejected, "sha256": sha256}).model_dump_json().encode()
            ),
            shard=batch_size * _BATCHES_A_SHARD,
            progress=listener,
        )
    return FrozenFeatures.load(folder, verify=complete)


def contents_hash(images: ImageSet, progress: Progress | None = None) -> str:
    """Hash of ids and stored contents (sha256, hex), independent of the labels."""
    listener = progress or Silent()
    listener.begin("hashing images", len(images))
    digest = hashlib.sha256()
    for position, one in enumerate(images.ids):
        digest.update(f"{len(one)}:{one}\0{images.content_hash(position)}\n".encode())
        listener.advance("hashing images", 1)
    listener.finish("hashing images")
    return digest.hexdigest()


def _encoded(
    images: ImageSet, encoder: FrozenEncoder, batch_size: int, workers: int, advance: Callable[[int], None]
) -> MadeRows:
    """Rows of all images, zeros where one is rejected; ``advance`` is called for each batch."""
    rows: NDArray[np.float32] = np.zeros((len(images), encoder.dim), dtype=np.float32)
    rejected: dict[int, str] = {}
    places = {one: position for position, one in enumerate(images.ids)}
    for batch in prepared_batches(images, encoder.preparation, batch_size, workers=workers):
        rejected |= {places[one]: reason for one, reason in batch.rejected}
        if batch.ids:
            vectors = encoder.encode(to_unit(batch.pixels)).cpu()
            finite = torch.isfinite(vectors).all(1)
            rejected |= {batch.indices[row]: NOT_FINITE for row in (~finite).nonzero().flatten().tolist()}
            vectors[~finite] = 0.0
            rows[batch.indices] = vectors.numpy()
        advance(len(batch.ids) + len(batch.rejected))
    return MadeRows(rows, rejected)
