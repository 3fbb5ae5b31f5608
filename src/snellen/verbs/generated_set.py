"""The record of what a generating method made: what ``generate.json`` holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.formats import FORMATS

RECORD = "generate.json"

#: How messages call it.
WHAT = "generated data set"


class RejectedRequest(BaseModel):
    """A request that could not be read, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    reason: str


class GeneratedSet(BaseModel):
    """Images with captions and provenance, as files. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: requests (name, fingerprint, number), method, models, seed, versions.
        written: images that were written.
        rejected: requests that could not be read.
        files: manifest, sheet and grid, relative to the folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: dict[str, Any]
    written: int
    rejected: tuple[RejectedRequest, ...] = ()
    files: tuple[str, ...] = ()
    folder: Path = Field(Path(), exclude=True, description="where the files are")

    @property
    def manifest(self) -> Path:
        """What :func:`snellen.load_images` reads."""
        return self.folder / "manifest.csv"

    def to_json(self) -> dict[str, Any]:
        """JSON values, as the file holds them."""
        return FORMATS[RECORD].stamped(self.model_dump(mode="json"))

    def __repr__(self) -> str:
        return f"GeneratedSet({self.written} images in {str(self.folder)!r}, {self.plan['method']['method']})"

    __str__ = __repr__
