"""Label smoothing: a share of each label is spread evenly over all classes.

Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the inception architecture for computer vision", CVPR 2016,
arXiv 1512.00567, section 7.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from pydantic import Field

from snellen.training.fitting.recipe import ClassifierRecipe
from snellen.training.objectives import Objective, cross_entropy, on_scores


class LabelSmoothing(ClassifierRecipe):
    """Train on softened labels, so that scores do not grow without end.

    >>> LabelSmoothing().share
    0.1
    """

    name: ClassVar[str] = "label_smoothing"
    treats: ClassVar[tuple[str, ...]] = ("calibration",)

    share: float = Field(0.1, ge=0, lt=1, description="share of the label that is spread over the classes")

    def objective(self) -> Objective:
        """Cross-entropy with the softened label."""
        return on_scores(partial(cross_entropy, label_smoothing=self.share))
