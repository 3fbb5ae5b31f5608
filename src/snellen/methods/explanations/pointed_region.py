"""The object that a segmenter sees at a place of an image, with every candidate it was chosen from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.segmenters.protocol import Segmenter

#: Which of a segmenter's candidates is the region: the one with the best predicted overlap, or its last one, which is
#: mostly the largest.
Candidate = Literal["best", "last"]


@dataclass(frozen=True, eq=False)
class PointedRegion:
    """What a segmenter made of n images.

    Attributes:
        candidates: bool (n, c, h, w), on the CPU; false throughout for images without a prompt.
        predicted: float (n, c), the overlap with the true object that the segmenter predicts; NaN where it does not.
        chosen: int64 (n,), which candidate is the region.
        rule: how it was chosen, in words.
        prompted: bool (n,), the images that the segmenter was run on.
    """

    candidates: Tensor
    predicted: Tensor
    chosen: Tensor
    rule: str
    prompted: Tensor

    @property
    def region(self) -> Tensor:
        """The chosen candidate of each image: bool (n, h, w)."""
        return self.candidates[torch.arange(len(self.chosen)), self.chosen]

    def regions(self) -> dict[str, Tensor]:
        """The chosen one, and where there are several, each of them, by name."""
        count = self.candidates.shape[1]
        several = {f"candidate {place + 1}": self.candidates[:, place] for place in range(count)} if count > 1 else {}
        return {"region": self.region, **several}

    def record(self, row: int) -> dict[str, Any]:
        """What is to be kept of one image, as JSON values; candidates are counted from 1.

        Nothing of an image without a prompt: only its neighbours show how many candidates there would be.
        """
        if not bool(self.prompted[row]):
            return {}
        shares = self.candidates[row].double().mean((1, 2)).tolist()
        predicted = [None if value != value else value for value in self.predicted[row].tolist()]
        return {
            "candidates": [{"share": s, "predicted_overlap": p} for s, p in zip(shares, predicted, strict=True)],
            "chosen": int(self.chosen[row]) + 1,
            "rule": self.rule,
        }


def pointed_region(
    segmenter: Segmenter, images: Tensor, places: Tensor | None, rows: Tensor, *, candidate: Candidate = "best"
) -> PointedRegion:
    """Ask a segmenter for the object at one place of each image.

    Args:
        segmenter: prompted by points, or by nothing at all: then it finds what stands out, wherever it is.
        images: (n, 3, h, w) in [0, 1], of any model's preparation but not normalised.
        places: int64 (n, 2), row and column; None where there are none.
        rows: int64 (m,), the images to segment.
        candidate: see :data:`Candidate`.

    Raises:
        InputError: the segmenter needs a place and there is none, or it takes boxes alone.
    """
    if segmenter.prompts and (places is None or "points" not in segmenter.prompts):
        raise InputError(
            f"{segmenter.name} takes {' or '.join(sorted(segmenter.prompts))}, and is to be given "
            f"{'nothing' if places is None else 'a point'}; use an attribution and a segmenter that takes points "
            f"(bundled:scene-sam, hf:FOLDER, grabcut), or one that needs no prompt (isnet:FILE.onnx)"
        )
    count, (height, width) = len(images), images.shape[-2:]
    prompted = torch.zeros(count, dtype=torch.bool)
    prompted[rows] = True
    if not len(rows):
        nothing = torch.zeros(count, 1, height, width, dtype=torch.bool)
        return PointedRegion(nothing, torch.full((count, 1), torch.nan), torch.zeros(count).long(), "", prompted)
    points = points_of(places[rows])[:, None] if places is not None and segmenter.prompts else None
    found = segmenter.segment(images[rows], points=points)
    several = found.candidates.shape[1]
    candidates = torch.zeros(count, several, height, width, dtype=torch.bool)
    candidates[rows] = (found.candidates > 0.5).cpu()
    predicted = torch.full((count, several), torch.nan)
    predicted[rows] = found.predicted.float().cpu()
    chosen = torch.zeros(count, dtype=torch.int64)
    chosen[rows] = found.chosen.cpu() if candidate == "best" else several - 1
    rule = found.rule if candidate == "best" else "the last candidate"
    return PointedRegion(candidates, predicted, chosen, rule, prompted)


def points_of(places: Tensor) -> Tensor:
    """Rows and columns (n, 2) as places (x, y), which is (column, row): float64, NaN where there is none (−1).

    >>> points_of(torch.tensor([[2, 7], [-1, -1]])).tolist()
    [[7.0, 2.0], [nan, nan]]
    """
    points = places.flip(1).double()
    return torch.where((places >= 0).all(1)[:, None], points, torch.nan)
