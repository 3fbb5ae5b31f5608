"""What an attribution gives, and the protocol by which one is plugged in where another stood."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from snellen.core.budget import Spent
from snellen.core.classifier import Classifier
from snellen.core.in_float64 import in_float64
from snellen.core.randomness import Randomness
from snellen.methods.explanations.maps import has_evidence, pixel_map

#: The statuses of :class:`Attributed` beside "ok".
NO_EVIDENCE = "no evidence: the map is the same everywhere, so no part of the image matters more than another"
#: Scores that differ by no more than this share of their size differ by rounding: the last digits of float32, 1e-7, as
#: a network enlarges them. An image of one colour out of focus is that image but for those.
ROUNDING = 1e-5
NOT_FINITE = "not finite: the classifier gave scores or gradients that are NaN or infinite on the way"


@dataclass(frozen=True, eq=False)
class Attributed:
    """Maps of contributions of n images to the score of their targets.

    Attributes:
        maps: float32 (n, h, w) or (n, 3, h, w), signed; NaN throughout where something was not finite.
        value: float64 (n,), the explained score of each image.
        base: float64 (n,), that of the reference (everything masked, or the baseline); NaN where there is none.
        gap: float64 (n,), sum of the map − (value − base): 0 where a map is complete. NaN where the method promises
            none.
        status: for each image ``ok``, :data:`NO_EVIDENCE` or :data:`NOT_FINITE`.
        spent: queries and gradients of all images.
    """

    maps: Tensor
    value: Tensor
    base: Tensor
    gap: Tensor
    status: tuple[str, ...]
    spent: Spent = field(default_factory=Spent)

    @property
    def pixels(self) -> Tensor:
        """One number a pixel, (n, h, w): channels summed."""
        return pixel_map(self.maps)

    @classmethod
    def of(
        cls,
        maps: Tensor,
        value: Tensor,
        *,
        base: Tensor | None = None,
        spent: Spent,
        total: Tensor | None = None,
        extremes: tuple[Tensor, Tensor] | None = None,
    ) -> Attributed:
        """Put together what was computed; a map or a value that is not finite spoils its whole image.

        Whether differences are more than :data:`ROUNDING` is decided here and nowhere else: a map alone does not show
        it, without the scores that it was made of. Where they are not, the map is 0 throughout.

        Args:
            maps: (n, h, w) or (n, 3, h, w).
            value: float64 (n,).
            base: float64 (n,), where the method promises completeness.
            spent: of all images.
            total: float64 (n,), the sum of each map before it was rounded; by default that of the map.
            extremes: float64 (n,) each, the least and the largest score on the way, where the map is made of scores.
        """
        nothing = torch.full_like(value, torch.nan)
        finite = maps.flatten(1).isfinite().all(1).cpu() & value.isfinite()
        if base is not None:
            finite = finite & base.isfinite()
        summed = in_float64(maps.detach()).flatten(1).sum(1).cpu() if total is None else total
        if extremes is not None:
            least, largest = extremes
            same = finite & (largest - least <= ROUNDING * torch.maximum(least.abs(), largest.abs()))
            maps = torch.where(same.to(maps.device).view(-1, *[1] * (maps.ndim - 1)), 0.0, maps)
            summed = torch.where(same, 0.0, summed)
        kept = torch.where(finite.to(maps.device).view(-1, *[1] * (maps.ndim - 1)), maps, torch.nan)
        speaking = has_evidence(kept).tolist()
        status = tuple(
            "ok" if speaks else NO_EVIDENCE if usable else NOT_FINITE
            for speaks, usable in zip(speaking, finite.tolist(), strict=True)
        )
        if base is None:
            return cls(kept.float(), value, nothing, nothing, status, spent)
        gap = torch.where(finite, summed - (value - base), torch.nan)
        return cls(kept.float(), value, base, gap, status, spent)


@runtime_checkable
class Attributor(Protocol):
    """Anything that attributes: every attribution of the area ``explanations`` does, beside explaining."""

    def attribute(self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness) -> Attributed:
        """Attribute the scores of ``targets`` (n,) to the pixels of prepared images (n, 3, h, w)."""
        ...
