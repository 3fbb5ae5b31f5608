"""Checks that measure a sample: of many images no more than are needed, drawn by their ids.

The share is fixed before anything is measured, so that the draw of an image depends on no shard and no result: an audit
in parts, on another machine or resumed gives the same bytes. That is also why no search is stopped by what it found so
far. Draws are nested: a smaller sample lies in a larger one.
"""

from __future__ import annotations

from typing import Self

import pyarrow.compute as pc
import torch
from pydantic import Field
from torch import Tensor

from snellen.checks.check import Batch, Check, CheckInput


class Sampled(Check):
    """A check that measures a share of the images, and of many images at most about a fixed number."""

    most: int | None = Field(
        None, ge=1, description="images that are measured at most, on average, drawn by their ids; none: no bound"
    )
    share: float = Field(1.0, gt=0, le=1, description="share of the images that are measured, drawn by their ids")

    def sized(self, images: int) -> Self:
        """The same check with the share that keeps to ``most`` of so many labelled images."""
        if self.most is None or self.share * images <= self.most:
            return self
        return self.model_copy(update={"share": self.most / images})

    def unbounded(self) -> Self:
        """The same check without a bound, but for one that somebody set."""
        return self if "most" in self.model_fields_set else self.model_copy(update={"most": None})

    def draws(self, batch: Batch) -> Tensor:
        """A number in [0, 1) for each image of a batch (n,), the same in every batch; drawn are those below a share."""
        return batch.rng.child(self.name).uniform("share", ()).to(batch.labels.device)

    def part_of(self, batch: Batch) -> Batch | None:
        """The whole batch, images without labels too, where all are measured; else :meth:`sample`."""
        return batch if self.share == 1.0 else self.sample(batch)

    def sample(self, batch: Batch) -> Batch | None:
        """The labelled images of a batch that are drawn; None when there are none."""
        labelled = batch.labels >= 0
        if batch.classifier.task == "multilabel":
            labelled = torch.from_numpy((batch.label_sets >= 0).any(1)).to(labelled.device)
        chosen = (labelled & (self.draws(batch) < self.share)).nonzero().flatten()
        return batch.take(chosen) if len(chosen) else None

    def sampling_notes(self, reading: CheckInput, measured: int | None = None) -> list[str]:
        """What a reader must know where a share was measured: of so many images, by default those of the evidence."""
        images = int(reading.images.labelled.sum())
        if self.sized(images).share == 1.0:
            return []
        if measured is None:
            measured = len(pc.unique(reading.evidence.table["example_id"]))
        return [
            f"{self.name.capitalize()}: {measured:,} of {images:,} labelled images were measured, drawn by their ids "
            f"(--set {self.name}.most and {self.name}.share change how many)."
        ]
