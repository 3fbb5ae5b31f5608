"""The record of an attack on a set of images: what ``attack.json`` holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from snellen.evidence import Evidence
from snellen.writing.attack_figures import AttackFigures, Figure

RECORD = "attack.json"

#: How messages call it.
WHAT = "attack"

#: The table with a row for each image and setting.
EVIDENCE = "evidence.parquet"


class RejectedImage(BaseModel):
    """An image that counts nowhere, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    reason: str


class AttackedSet(BaseModel):
    """What attacks found on a set of images. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: model, data, settings with their methods, goal, batch size, seed, machine, versions.
        clean_accuracy: of the unchanged images.
        settings: figures of each attack, by name.
        rejected: images that could not be used.
        files: evidence, manifest, archives of adversarial images and pictures of examples, relative to the folder.
        folder: where the files are; None where nothing was kept.
        evidence: the table with a row for each image and setting, in memory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    plan: dict[str, Any]
    clean_accuracy: Figure
    settings: dict[str, AttackFigures]
    rejected: tuple[RejectedImage, ...] = ()
    files: tuple[str, ...] = ()
    folder: Path | None = Field(None, exclude=True)
    evidence: Evidence | None = Field(None, exclude=True, repr=False)

    @property
    def manifest(self) -> Path | None:
        """The manifest of the adversarial images as files, which :func:`snellen.load_images` reads."""
        return self._file(".csv")

    @property
    def archives(self) -> tuple[Path, ...]:
        """The adversarial images without loss, as NumPy archives."""
        return () if self.folder is None else tuple(self.folder / file for file in self.files if file.endswith(".npz"))

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return self.model_dump(mode="json")

    def _file(self, ending: str) -> Path | None:
        found = [file for file in self.files if file.endswith(ending)]
        return self.folder / found[0] if found and self.folder is not None else None

    def __repr__(self) -> str:
        told = "; ".join(f"{name}: {figures.verdict}" for name, figures in self.settings.items())
        return f"AttackedSet({told})"

    __str__ = __repr__
