"""What a segmenter must offer, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

Prompt = Literal["points", "boxes"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Segmented:
    """Masks of m prompts, and every candidate they were chosen from.

    >>> found = Segmented(
    ...     candidates=torch.tensor([[[[0.2, 0.9]], [[0.7, 0.6]]]]), predicted=torch.tensor([[0.4, 0.8]]),
    ...     chosen=torch.tensor([1]), rule="the highest predicted overlap",
    ... )
    >>> found.masks.tolist(), found.quality.tolist(), found.regions.tolist()
    ([[[0.699..., 0.600...]]], [0.800...], [[[True, True]]])

    Attributes:
        candidates: float32 (m, c, h, w) in [0, 1], the probability that a pixel belongs to the object, in the pixels of
            the given images. One candidate where the model gives a single mask.
        predicted: float32 (m, c), the overlap (intersection over union) with the true mask that the model predicts of
            each candidate, as it comes out of the model: it may leave [0, 1]. NaN where a model predicts none.
        chosen: int64 (m,), the candidate that is the mask.
        rule: how it was chosen, in words.
    """

    candidates: Tensor
    predicted: Tensor
    chosen: Tensor
    rule: str

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def masks(self) -> Tensor:
        """The chosen masks: float32 (m, h, w) in [0, 1]."""
        return self.candidates[torch.arange(len(self), device=self.chosen.device), self.chosen]

    @property
    def quality(self) -> Tensor:
        """The predicted overlap of the chosen masks: float32 (m,); NaN where the model predicts none."""
        return self.predicted[torch.arange(len(self), device=self.chosen.device), self.chosen]

    @property
    def regions(self) -> Tensor:
        """The pixels that more likely belong to the object than not: bool (m, h, w)."""
        return self.masks > 0.5


class Segmenter(Protocol):
    """Images and prompts → masks. Frozen, without gradients; the same call gives the same masks.

    Prompts are in pixels of the given images: x to the right, y down, and (0, 0) is the *centre of the first pixel*, so
    that integers name pixels. A mask tensor is indexed [row, column], which is [y, x].
    """

    @property
    def name(self) -> str:
        """Shown in reports and messages."""

    @property
    def prompts(self) -> frozenset[Prompt]:
        """The prompts it takes, of which at least one is needed; empty: it takes none and finds the salient object."""

    @property
    def device(self) -> torch.device:
        """Where the model runs, and where masks are."""

    def identity(self) -> str:
        """Hash of the weights, or of the parameters of a method without weights (sha256)."""

    def segment(
        self,
        images: Tensor,
        *,
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
    ) -> Segmented:
        """Find one mask for each prompt; without prompts, for each image.

        Args:
            images: float (n, 3, h, w) in [0, 1]. n prompts are one for each image; with a single image there may be any
                number m of prompts.
            points: (m, k, 2), k points (x, y) that together are one prompt.
            point_labels: (m, k), 1 where the point lies on the object, 0 where it lies beside it; by default all 1.
            boxes: (m, 4), corners (x0, y0, x1, y1) with x0 < x1 and y0 < y1. Points and boxes that come together make m
                prompts of both.

        Raises:
            InputError: images of another shape, type or range; no prompt for a model that needs one, a prompt that it
                does not take, or one outside of the image.
        """
