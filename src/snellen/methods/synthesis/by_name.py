"""Conditioning by class name: each image gets the name of its class in a template that is drawn for it alone.

One template is the plain prompt; several are the diverse prompts of Bansal and Grover (2023, arXiv 2302.02503), which
draw one of 80 for every image, and the *CLIP templates* of Fan et al. (CVPR 2024, arXiv 2312.04567).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from snellen.core.errors import InputError
from snellen.methods.synthesis.conditioned import Conditioned
from snellen.methods.synthesis.manifest_rows import Manifested, Source, drawn_template, image_seed, slots


class ByName(Conditioned):
    """Images of each class, prompted by its name. Real images are neither needed nor seen."""

    name: ClassVar[str] = "by_name"

    def rows(self, source: Source, count: int | None, seed: int) -> list[Manifested]:
        """One row for each image, in turns over the classes; without a count, one for each real image."""
        found = []
        for slot in slots(source, count, seed, from_images=False):
            prompt = self.filled(drawn_template(self.templates, slot.label, slot.index, seed), slot.label)
            noise = image_seed(slot.label, prompt, self.guidance_scale, slot.index, seed)
            found.append(Manifested(slot.id, slot.label, slot.index, prompt, noise))
        return found

    def check(self, rows: Sequence[Manifested], source: Source) -> None:
        """Also refuse other prompts than those that an adapter was fitted with.

        Raises:
            InputError: as above.
        """
        super().check(rows, source)
        adapters = self.adapters()
        if adapters is None:
            return
        prompts: dict[str, set[str]] = {}
        for row in rows:
            prompts.setdefault(row.label, set()).add(row.prompt or "")
        for label, found in prompts.items():
            fitted = adapters.card.prompts.get(label, ())
            other = sorted(found - set(fitted))
            if other:
                raise InputError(
                    f"class {label!r} would be generated from {other[0]!r}, and its adapter was fitted with "
                    f"{', '.join(map(repr, fitted))}: give the templates and words of the fitting"
                )
