"""Dual randomized smoothing: two interleaved halves of the image are smoothed apart, and their votes added.

Xia, Yu, Jiang and Ding, "Mitigating the curse of dimensionality for certified robustness via dual randomized
smoothing", ICLR 2024, arXiv 2404.09586. Its code is under no licence and was not read; the radius is derived anew in
:mod:`snellen.methods.smoothing.bounds`: R = σ (Φ⁻¹(p₁) + Φ⁻¹(p₂)) / √2, where p₁ and p₂ are lower bounds at level α/2
each.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from snellen.methods.smoothing.bounds import proven_radius, published_radius
from snellen.methods.smoothing.branches import View
from snellen.methods.smoothing.by_votes import VoteCertificate, noise_notes
from snellen.methods.smoothing.certifying import Radius


class DualSmoothing(VoteCertificate):
    """Certify the majority of the votes of two networks; each sees one half of the pixels under noise.

    ``parity`` gives the published formula, √(r₁² + r₂²) with negative r counted as 0 and both bounds at level α. It
    overstates the radius wherever the bounds differ and is **no guarantee**; the outcome says so.

    >>> DualSmoothing(parity=True).guarantees
    False
    """

    name: ClassVar[str] = "dual_smoothing"
    split_pixels: ClassVar[bool] = True

    view: View | None = Field(
        None, description="how a network is shown its half; by default as MODEL was trained, else contrast"
    )
    parity: bool = Field(False, description="the published formula, which overstates the radius: no guarantee")

    @property
    def guarantees(self) -> bool:
        """Whether what comes out is proven."""
        return not self.parity

    def assumptions(self, sigma: float, grey: bool, branches: int) -> tuple[str, ...]:
        """The radius of two halves, or a warning in its place."""
        if self.parity:
            return (
                "NO GUARANTEE: the published formula of dual smoothing, which overstates the radius wherever the two "
                "halves differ, at a joint confidence of 1 - 2 alpha only",
                *noise_notes(sigma, grey, 2 * self.alpha)[:2],
            )
        return (
            *noise_notes(sigma, grey, self.alpha),
            "each network sees one half of the pixels and the noise on it alone",
        )

    def _radius(self) -> Radius:
        return published_radius if self.parity else proven_radius

    def _level(self, branches: int) -> float:
        # Shared among the branches later; the published code takes alpha for each.
        return min(branches * self.alpha, 1 - 1e-12) if self.parity else self.alpha

    @property
    def shown(self) -> View | None:
        """How a half is shown; None: as the networks were trained."""
        return self.view
