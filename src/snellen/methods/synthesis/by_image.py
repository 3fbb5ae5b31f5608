"""Conditioning by real training images: each is noised for a share of the steps and denoised, under its class or alone.

The third mode of Bansal and Grover (2023), by SDEdit (Meng et al. 2022). The strength is recorded: at 1, their setting,
next to nothing of the picture is left. Without the name it is their second mode for a generator of prompts; one that
was trained on embeddings of images takes these (:mod:`snellen.models.diffusion.image_encoding`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from snellen.core.errors import InputError
from snellen.methods.generation.guided_sampling import GuidedSampling
from snellen.methods.generation.made_images import generator_of
from snellen.methods.generation.sample import Sample
from snellen.methods.generation.variation import Variation
from snellen.methods.synthesis.conditioned import Conditioned
from snellen.methods.synthesis.manifest_rows import (
    Manifested,
    Source,
    drawn_template,
    image_seed,
    slots,
)


class ByImage(Conditioned):
    """Variations of the real training images of the class, in turns."""

    name: ClassVar[str] = "by_image"

    strength: float = Field(
        0.6, gt=0, le=1, description="share of the steps that is made; 1 leaves next to nothing of the real image"
    )

    named: bool = Field(True, description="put the class into the prompt; without, the image alone is seen")

    def rows(self, source: Source, count: int | None, seed: int) -> list[Manifested]:
        """One row for each image; image *i* of a class is made from its real image *i*, and then they repeat.

        Without a count, one row is made from each real image.

        Raises:
            InputError: no real images, a class without any, a generator of classes that is not to see the class, or
                one of images that would have to see it.
        """
        if source.images is None:
            raise InputError("by-image needs real images: give a data set instead of names of classes")
        takes = generator_of(self.generator).takes
        if not self.named and takes not in ("prompts", "images"):
            raise InputError(f"{self.generator} takes {takes}, so it always sees the class; leave out --no-named")
        if self.named and takes == "images":
            raise InputError(f"{self.generator} takes images alone, and never a name: add --no-named")
        found = []
        for slot in slots(source, count, seed, from_images=True):
            template = drawn_template(self.templates, slot.label, slot.index, seed)
            prompt = self.filled(template, slot.label) if self.named else ""
            # Without the name, not even the noise depends on it.
            assert slot.source is not None
            key = slot.label if self.named else source.images.ids[slot.source]
            noise = image_seed(key, prompt, self.guidance_scale, slot.index, seed)
            found.append(Manifested(slot.id, slot.label, slot.index, prompt, noise, slot.source))
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

    def sampled(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The same; of a generator of image variations, the image alone."""
        found = super().sampled(request)
        return {key: value for key, value in found.items() if key != "prompt"} if self._embeds() else found

    def sampling(self) -> GuidedSampling:
        """Image to image; a generator of image variations reads the image from the first step on."""
        return Sample(**self._sampled()) if self._embeds() else Variation(**self._sampled(), strength=self.strength)

    def _embeds(self) -> bool:
        return generator_of(self.generator).takes == "images"
