"""Conditioning by the captions of real training images: class name and caption, without the picture itself.

The *IN-captions* of Fan et al. (CVPR 2024). Captions of validation or test images would leak them into the training
set; :meth:`snellen.methods.synthesis.manifest_rows.Source.of_images` leaves these out.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from snellen.core.errors import InputError
from snellen.methods.synthesis.conditioned import Conditioned
from snellen.methods.synthesis.manifest_rows import (
    BLANK,
    Manifested,
    Source,
    drawn_template,
    image_seed,
    slots,
)


class ByCaption(Conditioned):
    """Images prompted by the caption of a real training image of the class, in turns; the picture is not seen."""

    name: ClassVar[str] = "by_caption"

    named: bool = Field(True, description="put the class, in its template, before the caption")

    def rows(self, source: Source, count: int | None, seed: int) -> list[Manifested]:
        """One row for each image; image *i* of a class has the caption of its real image *i*, and then they repeat.

        Without a count, each real image gives its caption to one row.

        Raises:
            InputError: no real images, one without a caption, a class without images, or a generator without prompts.
        """
        if source.images is None:
            raise InputError("by-caption needs real images with captions: give a data set instead of names of classes")
        if not self.takes_prompts():
            raise InputError(f"{self.generator} takes no prompts, so it cannot take captions; generate by name")
        captions, found = source.images.column("caption"), []
        for slot in slots(source, count, seed, from_images=True):
            assert slot.source is not None
            caption = captions[slot.source]
            if not isinstance(caption, str) or not caption.strip():
                raise InputError(
                    f"{source.images.name}: training image {source.images.ids[slot.source]!r} has no caption; add a "
                    f"column 'caption', or generate by name"
                )
            text = caption.strip().replace(BLANK, "")
            named = self.filled(drawn_template(self.templates, slot.label, slot.index, seed), slot.label)
            prompt = f"{named}, {text}" if self.named else text
            noise = image_seed(slot.label, prompt, self.guidance_scale, slot.index, seed)
            found.append(Manifested(slot.id, slot.label, slot.index, prompt, noise, slot.source))
        return found

    def request(self, row: Manifested, source: Source) -> dict[str, object]:
        """The prompt, and the id of the image whose caption is in it; never the picture."""
        assert source.images is not None
        assert row.source is not None
        return {**super().request(row, source), "source": source.images.ids[row.source]}
