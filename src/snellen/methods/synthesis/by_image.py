"""Conditioning by real training images: each is noised for a share of the steps and denoised under its class.

The third mode of Bansal and Grover (2023), by SDEdit (Meng et al. 2022). The strength is recorded: at 1, their setting,
next to nothing of the picture is left.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from snellen.core.errors import InputError
from snellen.methods.generation.guided_sampling import GuidedSampling
from snellen.methods.generation.variation import Variation
from snellen.methods.synthesis.conditioned import Conditioned
from snellen.methods.synthesis.manifest_rows import (
    Manifested,
    Source,
    drawn_sources,
    drawn_template,
    image_seed,
    row_id,
    turns,
)


class ByImage(Conditioned):
    """Variations of the real training images of the class, in turns."""

    name: ClassVar[str] = "by_image"

    strength: float = Field(
        0.6, gt=0, le=1, description="share of the steps that is made; 1 leaves next to nothing of the real image"
    )

    def rows(self, source: Source, count: int, seed: int) -> list[Manifested]:
        """One row for each image; image *i* of a class is made from its real image *i*, and then they repeat.

        Raises:
            InputError: no real images, or a class without any.
        """
        if source.images is None:
            raise InputError("by-image needs real images: give a data set instead of names of classes")
        places = drawn_sources(source.images, seed)
        found = []
        for index, label in turns(source.classes, count):
            prompt = self.filled(drawn_template(self.templates, label, index, seed), label)
            noise = image_seed(label, prompt, self.guidance_scale, index, seed)
            row = places[label][index % len(places[label])]
            found.append(Manifested(row_id(label, index), label, index, prompt, noise, row))
        return found

    def request(self, row: Manifested, source: Source) -> dict[str, object]:
        """The prompt and the real image.

        Raises:
            RejectedImageError: the real image cannot be read.
        """
        assert source.images is not None
        assert row.source is not None
        known = {"source": source.images.ids[row.source], "image": source.images.read(row.source)}
        return {**super().request(row, source), **known}

    def sampling(self) -> GuidedSampling:
        """Image to image."""
        return Variation(**self._sampled(), strength=self.strength)
