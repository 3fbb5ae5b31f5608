"""The record of an attack on a set of images: what ``attack.json`` holds."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from snellen.auditing.class_order import PERMUTED
from snellen.methods.attacks.goal import RECORD
from snellen.runs.record import Figure, RejectedImage, RunResult, Summary, Table, figure_row
from snellen.verbs.attack_figures import AttackFigures


class AttackedSet(RunResult):
    """What attacks found on a set of images. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: model, data, settings with their methods, goal, batch size, seed, machine, versions.
        clean_accuracy: of the unchanged images.
        settings: figures of each attack, by name.
        rejected: images that could not be used.
        files: evidence, manifest, archives of adversarial images and pictures of examples, relative to the folder.
    """

    file: ClassVar[str] = RECORD

    clean_accuracy: Figure
    settings: dict[str, AttackFigures]
    rejected: tuple[RejectedImage, ...] = ()

    @property
    def permuted(self) -> str | None:
        """That the classes look permuted, in words; None where nothing says so."""
        doubts = (doubt for figures in getattr(self, "settings", {}).values() for doubt in figures.doubts)
        return next((doubt for doubt in doubts if doubt.startswith(PERMUTED)), None)

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *([] if self.permuted is None else [f"warning: {self.permuted}"])])

    __str__ = __repr__

    @property
    def manifest(self) -> Path | None:
        """The manifest of the adversarial images as files, which :func:`snellen.load_images` reads."""
        return self.path_of(".csv")

    @property
    def archives(self) -> tuple[Path, ...]:
        """The adversarial images without loss, as NumPy archives."""
        return self.paths_of(".npz")

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
