"""The record of an attack on a set of images: what ``attack.json`` holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.evidence import Evidence
from snellen.core.formats import FORMATS
from snellen.methods.attacks.goal import RECORD
from snellen.runs.record import Figure, RejectedImage, Summary, Table, figure_row
from snellen.verbs.attack_figures import AttackFigures


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
        """JSON values, as the file holds them."""
        return FORMATS[RECORD].stamped(self.model_dump(mode="json"))

    def summary(self) -> Summary:
        """Accuracies, distances, what was spent, verdicts and doubts."""
        target = self.plan["goal"]["target"]
        wanted = "" if target is None else f", to be taken for {target}"
        rows = [figure_row("clean_accuracy", self.clean_accuracy)]
        lines = []
        for name, figures in self.settings.items():
            for metric in ("robust_accuracy", "success_rate", "success_rate_8_bits", "median_distance"):
                rows.append(figure_row(f"{name}.{metric}", getattr(figures, metric)))
            for metric in ("queries_per_image", "gradients_per_image"):
                mean = getattr(figures, metric)
                rows.append((f"{name}.{metric}", "–" if mean is None else f"{mean:.1f}", "", ""))
            lines += [f"\n{name}: {figures.verdict}", *(f"doubt: {doubt}" for doubt in figures.doubts)]
        return Summary(
            f"{self.plan['model']['name']} on {self.plan['data']['name']}{wanted}",
            (Table(("metric", "value", "95 % interval", "images"), tuple(rows), frozenset({1, 2, 3})), *lines),
            rejected=self.rejected,
            files=self.files,
            record=RECORD,
        )

    def _file(self, ending: str) -> Path | None:
        found = [file for file in self.files if file.endswith(ending)]
        return self.folder / found[0] if found and self.folder is not None else None

    def __repr__(self) -> str:
        told = "; ".join(f"{name}: {figures.verdict}" for name, figures in self.settings.items())
        return f"AttackedSet({told})"

    __str__ = __repr__
