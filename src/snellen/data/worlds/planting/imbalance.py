"""Classes with few images beside classes with many."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.planted_defect import PlantedDefect, single_labels
from snellen.data.worlds.planting.row_draws import choose_exactly
from snellen.data.worlds.planting.truth import with_truth


class Imbalance(PlantedDefect):
    """Images of some classes left out, so that classes become unequal.

    Of K classes in order, class k keeps the share ratio^(−k / (K − 1)) of its images (exponential; Cui et al. 2019), or
    the first half keeps all and the others the share 1 / ratio (step; Buda et al. 2018). Shares are of each class's own
    number, rounded, and at least one image stays. Numbers are exact, so which images stay depends on which there are,
    but not on their order. Images without a label, and those out of reach, stay.

    ``planted`` says of every image that was in reach which share of its class was kept.

    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(np.zeros((300, 4, 4), dtype=np.uint8), np.arange(300) % 3)
    >>> np.bincount(Imbalance(ratio=100).plant(images, rng=Randomness(0)).labels).tolist()
    [100, 10, 1]
    """

    name: ClassVar[str] = "imbalance"

    ratio: float = Field(10.0, ge=1, le=1e6, description="the largest share that a class keeps over the smallest")
    profile: Literal["exponential", "step"] = Field("exponential", description="how shares fall from class to class")
    order: tuple[int, ...] | None = Field(None, description="all classes, from the fullest; None: by their index")

    def shares(self, classes: int) -> NDArray[np.float64]:
        """Share that each class keeps, float64 (K,) in (0, 1].

        Raises:
            InputError: ``order`` does not name each class once.
        """
        order = np.asarray(self.order if self.order is not None else range(classes), dtype=np.int64)
        if sorted(order.tolist()) != list(range(classes)):
            raise InputError(f"order must name each of the classes 0 … {classes - 1} once, got {order.tolist()}")
        place = np.empty(classes, dtype=np.float64)
        place[order] = np.arange(classes)
        if self.profile == "step":
            return np.where(place < (classes + 1) // 2, 1.0, 1 / self.ratio)
        return self.ratio ** -(place / max(classes - 1, 1))

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """The images that stay, in their order.

        Raises:
            InputError: there are no labels, only test images, or ``order`` does not fit.
        """
        labels, classes = single_labels(images, "imbalance")
        reach = self.rows_in_reach(images) & (labels >= 0)
        shares, ids, draws = self.shares(classes), images.ids, self.draws(rng)
        kept = ~reach
        for number, share in enumerate(shares.tolist()):
            of_class = reach & (labels == number)
            kept |= choose_exactly(draws, ids, "kept", of_class, max(1, round(share * int(of_class.sum()))))
        entries = [
            {"kept_share": float(shares[label])} if hit else None
            for label, hit in zip(labels.tolist(), reach.tolist(), strict=True)
        ]
        return with_truth(images, self.truth_key, entries).select(np.flatnonzero(kept))
