"""Checks that measure a sample: of many images no more than are needed, drawn by their ids.

The share is fixed before anything is measured, so that the draw of an image depends on no shard and no result: an audit
in parts, on another machine or resumed gives the same bytes. That is also why no search is stopped by what it found so
far. Draws are nested: a smaller sample lies in a larger one.
"""

from __future__ import annotations

from typing import Self

import pyarrow.compute as pc
from pydantic import Field

from snellen.checks.check import Batch, Check, Reading


class Sampled(Check):
    """A check that measures a share of the images, and of many images at most about a fixed number."""

    most: int | None = Field(
        None, ge=1, description="images that are measured at most, on average, drawn by their ids; none: no bound"
    )
    share: float = Field(1.0, gt=0, le=1, description="share of the images that are measured, drawn by their ids")

    def sized(self, images: int) -> Self:
        """The same check with the share that keeps to ``most`` of so many images."""
        if self.most is None or self.share * images <= self.most:
            return self
        return self.model_copy(update={"share": self.most / images})

    def unbounded(self) -> Self:
        """The same check without a bound."""
        return self.model_copy(update={"most": None})

    def sample(self, batch: Batch, *, labelled: bool = False) -> Batch | None:
        """The images of a batch, or the labelled ones, that are measured; None when there are none."""
        if self.share == 1.0 and not labelled:
            return batch
        drawn = batch.rng.child(self.name).uniform("share", ()).to(batch.labels.device) < self.share
        chosen = (drawn & (batch.labels >= 0) if labelled else drawn).nonzero().flatten()
        return batch.take(chosen) if len(chosen) else None

    def sampling_notes(self, reading: Reading) -> list[str]:
        """What a reader must know where fewer were measured than the bound allows to be left out."""
        images = len(reading.images)
        if self.sized(images) is self:
            return []
        measured = len(pc.unique(reading.evidence.table["example_id"]))
        return [
            f"{self.name.capitalize()}: {measured:,} of {images:,} images were measured, drawn by their ids; "
            f"--effort full measures all."
        ]
