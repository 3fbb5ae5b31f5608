"""RISE: the mean of random masks, weighted by the score of what each lets through.

Petsiuk, Das and Saenko, "RISE: randomized input sampling for explanation of black-box models", BMVC 2018, arXiv
1806.07421, equation 6: S = Σ f(I ⊙ M) M / (E[M] N). Masks are small random grids, enlarged and shifted (section 3.2);
every image has masks of its own, drawn for its id.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.attributed import Attributed
from snellen.methods.explanations.by_map import MapExplanation
from snellen.methods.explanations.filling import Filling, filling
from snellen.methods.explanations.score import TargetScore


def rise(
    score: TargetScore,
    images: Tensor,
    filled: Filling,
    *,
    rng: Randomness,
    masks: int = 1000,
    cells: int = 7,
    keep: float = 0.5,
) -> Attributed:
    """RISE of prepared images: maps (n, h, w); expected score where a pixel shows, so no completeness is promised.

    Where the score is the same under all masks, what is left would be a map of the masks and not of the image: no
    evidence.

    Args:
        score: the explained score, of all n images.
        images: (n, 3, h, w) in [0, 1].
        filled: what shows where a mask is 0, bound to the images; black in the paper.
        rng: bound to the images, or not bound.
        masks: N, for each image; the paper takes 4,000 to 8,000.
        cells: of the small grid along each edge.
        keep: probability that a cell lets through.

    Raises:
        InputError: no masks, no cells, or ``keep`` not between 0 and 1.
    """
    if masks < 1 or cells < 1 or not 0 < keep < 1:
        raise InputError(f"RISE needs masks, cells, and keep between 0 and 1; got {masks=}, {cells=}, {keep=}")
    bound = rng.bind(len(images))
    height, width = images.shape[-2:]
    tall, wide = -(-height // cells), -(-width // cells)
    summed = torch.zeros(len(images), height, width, dtype=torch.float64)
    least, largest = (torch.zeros(len(images), dtype=torch.float64) for _ in range(2))
    with score.classifier.counting() as spent, torch.no_grad():
        value = score.of_images(images)
        for row in range(len(images)):
            own = bound[[row]]
            grids = (own.uniform("cells", (masks, cells, cells))[0] < keep).float()
            down = own.integers("down", (masks,), 0, tall)[0].tolist()
            right = own.integers("right", (masks,), 0, wide)[0].tolist()
            low, high = float("inf"), -float("inf")
            for some in torch.arange(masks).split(score.chunk):
                large = F.interpolate(
                    grids[some][:, None], ((cells + 1) * tall, (cells + 1) * wide), mode="bilinear", align_corners=False
                )[:, 0]
                shown = torch.stack(
                    [
                        one[down[mask] : down[mask] + height, right[mask] : right[mask] + width]
                        for one, mask in zip(large, some.tolist(), strict=True)
                    ]
                )
                rows = torch.full((len(some),), row)
                scores = score.values(filled(rows, shown), rows)
                summed[row] += torch.einsum("m,myx->yx", scores, shown.double())
                low, high = min(low, float(scores.min())), max(high, float(scores.max()))
            least[row], largest[row] = low, high
    maps = (summed / (keep * masks)).float().to(images.device)
    return Attributed.of(maps, value, spent=spent(), extremes=(least, largest))


class RISE(MapExplanation):
    """The mean of random masks, weighted by the score of what each lets through; for any classifier with scores.

    The map is a score to be expected, not a contribution: it is positive throughout, and only differences within it
    mean something.

    >>> import torch
    >>> from torch import nn
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)), class_names=["a", "b"])
    >>> RISE(masks=20).explain(classifier, torch.rand(2, 3, 4, 4), torch.tensor([0, 1])).maps["evidence"].shape
    torch.Size([2, 4, 4])
    """

    name: ClassVar[str] = "rise"

    #: Inpainting takes hard edges, and these masks have none.
    fill: Literal["black", "grey", "mean", "blur"] = Field("black", description="what shows where a mask is closed")
    masks: int = Field(1000, ge=1, description="random masks of each image; the paper takes 4,000 to 8,000")
    cells: int = Field(7, ge=1, description="cells of a mask along each edge, before it is enlarged")
    keep: float = Field(0.5, gt=0, lt=1, description="probability that a cell lets through")

    def attribute(
        self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness | None = None
    ) -> Attributed:
        """``masks`` queries an image; see :meth:`MapExplanation.attribute`."""
        return rise(
            self._score(classifier, targets),
            images,
            filling(self.fill, images),
            rng=rng or Randomness(0),
            masks=self.masks,
            cells=self.cells,
            keep=self.keep,
        )
