"""The record of a shifted data set: what ``shift.json`` holds."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from snellen.runs.record import RejectedImage, RunResult, Summary, Table

RECORD = "shift.json"

#: How messages call it.
WHAT = "shifted data set"


class Rejected(BaseModel):
    """An image that was left out, and why; ``setting`` is None where it could not be read at all.

    Attributes:
        id: of the image.
        setting: for which it was left out; null where it could not be read at all.
        reason: why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    setting: str | None
    reason: str


class ShiftedSet(RunResult):
    """The same images under nuisances, as files. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: data (name, fingerprint, number of images, class names), settings with their methods, severities, seed,
            format, versions.
        written: images at each severity, by setting.
        rejected: images that were left out.
        files: manifest or archives, and contact sheets, relative to the folder.
    """

    file: ClassVar[str] = RECORD

    written: dict[str, int]
    rejected: tuple[Rejected, ...] = ()

    @property
    def manifest(self) -> Path | None:
        """The manifest that :func:`snellen.load_images` reads, in the format ``folder``."""
        return self.path_of(".csv")

    @property
    def archives(self) -> tuple[Path, ...]:
        """The archives, in the format ``medmnist-c``."""
        return self.paths_of(".npz")

    @property
    def contact_sheets(self) -> tuple[Path, ...]:
        """Pictures of examples."""
        return self.paths_of(".png")

    def summary(self) -> Summary:
        """Images by setting and severity."""
        severities = self.plan["severities"]
        shown = " ".join(f"{severity:g}" for severity in severities)
        rows = tuple((name, shown, f"{len(severities)} × {count}") for name, count in self.written.items())
        left_out = any(one.setting is not None for one in self.rejected) and self.plan.get("same_images")
        return Summary(
            self.plan["data"]["name"],
            (Table(("setting", "severities", "images"), rows, frozenset({2})),),
            rejected=tuple(
                RejectedImage(id=one.id if one.setting is None else f"{one.id} under {one.setting}", reason=one.reason)
                for one in self.rejected
            ),
            files=self.files,
            record=RECORD,
            last=("An image that one edit cannot be made of is left out of all edits.",) if left_out else (),
        )

    def _verdict(self) -> str:
        images = sum(self.written.values()) * len(self.plan["severities"])
        return f"{images} images in {str(self.folder)!r}, {', '.join(self.written)}"
