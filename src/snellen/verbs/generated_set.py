"""The record of what a generating method made: what ``generate.json`` holds."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from snellen.runs.record import RejectedImage, RunResult, Summary

RECORD = "generate.json"

#: How messages call it.
WHAT = "generated data set"


class GeneratedSet(RunResult):
    """Images with captions and provenance, as files. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: requests (name, fingerprint, number), method, models, seed, versions.
        written: images that were written.
        rejected: requests that could not be read.
        files: manifest, sheet and grid, relative to the folder.
        notes: remarks of the method.
    """

    file: ClassVar[str] = RECORD

    written: int
    rejected: tuple[RejectedImage, ...] = ()
    notes: tuple[str, ...] = Field((), exclude=True)

    @property
    def manifest(self) -> Path:
        """What :func:`snellen.load_images` reads."""
        return (self.folder or Path()) / "manifest.csv"

    def summary(self) -> Summary:
        """How many images, and the method's remarks about them."""
        return Summary(
            self.plan["requests"]["name"],
            (f"{self.written} images",),
            rejected=self.rejected,
            files=self.files,
            record=RECORD,
            last=tuple(f"note: {note}" for note in self.notes),
        )

    def _verdict(self) -> str:
        return f"{self.written} images in {str(self.folder)!r}, {self.plan['method']['method']}"
