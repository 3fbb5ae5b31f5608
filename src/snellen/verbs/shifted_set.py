"""The record of a shifted data set: what ``shift.json`` holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.formats import FORMATS

RECORD = "shift.json"

#: How messages call it.
WHAT = "shifted data set"


class Rejected(BaseModel):
    """An image that was left out, and why; ``setting`` is None where it could not be read at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    setting: str | None
    reason: str


class ShiftedSet(BaseModel):
    """The same images under nuisances, as files. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: data (name, fingerprint, number of images, class names), settings with their methods, severities, seed,
            format, versions.
        written: images at each severity, by setting.
        rejected: images that were left out.
        files: manifest or archives, and contact sheets, relative to the folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: dict[str, Any]
    written: dict[str, int]
    rejected: tuple[Rejected, ...] = ()
    files: tuple[str, ...] = ()
    folder: Path = Field(Path(), exclude=True, description="where the files are")

    @property
    def manifest(self) -> Path | None:
        """The manifest that :func:`snellen.load_images` reads, in the format ``folder``."""
        return next((self.folder / file for file in self.files if file.endswith(".csv")), None)

    @property
    def archives(self) -> tuple[Path, ...]:
        """The archives, in the format ``medmnist-c``."""
        return tuple(self.folder / file for file in self.files if file.endswith(".npz"))

    @property
    def contact_sheets(self) -> tuple[Path, ...]:
        """Pictures of examples."""
        return tuple(self.folder / file for file in self.files if file.endswith(".png"))

    def to_json(self) -> dict[str, Any]:
        """JSON values, as the file holds them."""
        return FORMATS[RECORD].stamped(self.model_dump(mode="json"))

    def __repr__(self) -> str:
        images = sum(self.written.values()) * len(self.plan["severities"])
        return f"ShiftedSet({images} images in {str(self.folder)!r}, {', '.join(self.written)})"

    __str__ = __repr__
