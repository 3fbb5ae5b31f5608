"""VIAT: training on the viewpoints that fool the classifier as it is (Ruan et al., ICCV 2023, arXiv 2307.10235).

min over W of E_clean[L(f_W(x), y)] + E_object E_{v ~ p*}[L(f_W(R(object, v)), y)], where p* is the mixture that GMVFool
finds for the object (:mod:`snellen.systems.viewpoints`). Re-implemented from the paper; the published code has no
licence and was not opened. Two of its faults are not repeated: renderings were not normalised while clean images were,
and deviations were forgotten where a search continued.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import nn

from snellen.systems.viewpoints.pool import LabelledObjects, MixturePool
from snellen.systems.viewpoints.search import SearchSettings
from snellen.systems.viewpoints.view_training import ViewTraining


class ViewpointTraining(SearchSettings, ViewTraining):
    """Train on views and, in every batch, on views of mixtures that are searched against the classifier as it is.

    The images are a set of views, whose source renders its objects anew. ``components`` 1 is the same with ViewFool's
    single Gaussian.
    """

    name: ClassVar[str] = "viewpoint_training"

    warm_iterations: int = Field(10, ge=1, le=10_000, description="steps of a search that goes on, in later epochs")
    share_rate: float = Field(
        0.5, ge=0, le=1, description="views that come of the mixture of a random object of the same class, as a share"
    )
    refresh: bool = Field(True, description="search on in every epoch; otherwise the first mixtures stay as they are")

    @property
    def least_seen(self) -> float:
        """Share of the picture that an object must cover, to be shown."""
        return self.least_coverage

    def supply(self, objects: LabelledObjects) -> nn.Module:
        """A pool of mixtures, one for each object."""
        settings = SearchSettings(**{name: getattr(self, name) for name in SearchSettings.model_fields})
        return MixturePool(
            objects, settings, warm_iterations=self.warm_iterations, share_rate=self.share_rate, refresh=self.refresh
        )
