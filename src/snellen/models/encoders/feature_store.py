"""Frozen features on the disk: ``features.npy``, one float32 row for each image, and ``features.json``."""

from __future__ import annotations

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
from snellen.models.encoders.row_file import RowFiles, check_hash, open_rows

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
        """Features of all images of a record, of which the rejected ones are left out."""
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
        """Open a folder that :func:`~snellen.models.encoders.extracting.frozen_features` wrote.

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
