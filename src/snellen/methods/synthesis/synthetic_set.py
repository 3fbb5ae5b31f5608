"""The record of a generated labelled data set: what ``synthesize.json`` holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.methods.synthesis.avoided_failures import KNOWN_TO_FAIL
from snellen.methods.synthesis.copies import Copies
from snellen.runs.record import RejectedImage, RunResult, Summary, Table

RECORD, MANIFEST = "synthesize.json", "manifest.csv"

#: How messages call it.
WHAT = "synthetic data set"


class SyntheticSet(RunResult):
    """Labelled images with provenance, as files. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: source, settings, models, count, seed, versions.
        written: images that were written, by setting and class.
        copies: duplicates, copies of real images and blank images, by setting.
        redrawn: images that were drawn again because nothing was drawn in them at first, by setting.
        rejected: rows whose real image could not be read, or in whose image nothing was drawn.
    """

    file: ClassVar[str] = RECORD

    written: dict[str, dict[str, int]] = Field(default_factory=dict)
    copies: dict[str, Copies | None] = Field(default_factory=dict)
    redrawn: dict[str, int] = Field(default_factory=dict)
    rejected: tuple[RejectedImage, ...] = ()

    @property
    def manifest(self) -> Path:
        """What :func:`snellen.load_images` reads: all settings, with a column ``setting``."""
        return (self.folder or Path()) / MANIFEST

    @property
    def manifests(self) -> dict[str, Path]:
        """The manifest of each setting by itself."""
        folder = self.folder or Path()
        if len(self.written) < 2:
            return dict.fromkeys(self.written, folder / MANIFEST)
        return {setting: folder / f"{setting}.csv" for setting in self.written}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know before they train on it."""
        several = len(self.copies) > 1
        return tuple(
            f"{setting}: {note}" if several else note
            for setting, found in self.copies.items()
            for note in (*self._left_out(setting), *(() if found is None else found.notes))
        )

    def _left_out(self, setting: str) -> tuple[str, ...]:
        """Classes without an image, and failures to avoid that touched nothing."""
        lost = [name for name in self.plan["source"].get("classes", ()) if not self.written[setting].get(name)]
        notes = [f"no image of {', '.join(lost)} is in the set; the reasons are among the rejected"] * bool(lost)
        avoided = any(one.reason.startswith(KNOWN_TO_FAIL) for one in self.rejected)
        if "avoided" in self.plan.get("models", {}).get(setting, {}) and not avoided:
            notes.append("nothing was left out: no class or prompt here is among the failures that are avoided")
        return tuple(notes)

    def summary(self) -> Summary:
        """How many images of how many classes each setting has, and how many of them add nothing."""
        rows = []
        for setting, counts in self.written.items():
            found = self.copies.get(setting)
            cells = ("–",) * 3 if found is None else (f"{found.near}", _or_dash(found.of_real), f"{found.blank}")
            drawn_again = str(self.redrawn.get(setting, 0))
            rows.append((setting, str(sum(counts.values())), str(len(counts)), *cells, drawn_again))
        return Summary(
            self.plan["source"]["name"],
            (
                Table(
                    (
                        "setting",
                        "images",
                        "classes",
                        "copies of each other",
                        "copies of real images",
                        "blank",
                        "redrawn",
                    ),
                    tuple(rows),
                    frozenset(range(1, 7)),
                ),
            ),
            rejected=self.rejected,
            files=self.files,
            record=RECORD,
            last=tuple(f"note: {note}" for note in self.notes),
        )

    def _verdict(self) -> str:
        return "; ".join(f"{setting}: {sum(counts.values())} images" for setting, counts in self.written.items())


def _or_dash(count: int | None) -> str:
    return "–" if count is None else str(count)


def with_classes_of(made: ImageSet, real: ImageSet) -> ImageSet:
    """A generated set with its classes in the order of the real ones; a manifest sorts them by name.

    Raises:
        InputError: a class that the real images do not have.
    """
    names, own = real.class_names or (), made.class_names or ()
    unknown = next((name for name in own if name not in names), None)
    if unknown is not None:
        raise InputError(f"{made.name} has a class {unknown!r}, and {real.name} has none of that name")
    places = np.array([names.index(name) for name in own], dtype=np.int64)
    column = made.table.column_names.index("label")
    table = made.table.set_column(column, "label", pa.array(places[made.labels], pa.int64()))
    return replace(made, table=table, class_names=names)
