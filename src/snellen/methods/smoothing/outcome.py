"""What smoothing certifies, with everything from which it can be computed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.budget import Spent
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.outcomes import Certified

#: Why an image has no certificate.
ABSTAINS = "abstains: no class has a proven majority of the votes"


@dataclass(frozen=True, eq=False)
class CertifiedByVotes(Certified):
    """A certificate of n images from noisy votes.

    Attributes:
        sigma: standard deviation of the noise.
        guarantee: whether the radius is proven. False for the published formula, which is not.
        selection: int64 (n, b, k), votes that chose the class, by branch.
        estimation: int64 (n, b, k), votes that the bounds come from; ``votes`` is their sum over branches.
        selection_samples: of each branch in the selection.
        samples: int64 (n,), of each branch in the estimation.
        lower: float64 (n, b), bounds of the class's probability by branch.
        largest: the radius that no image can exceed with so many samples.
    """

    sigma: float
    guarantee: bool
    selection: Tensor
    estimation: Tensor
    selection_samples: int
    samples: Tensor
    lower: Tensor
    largest: float

    @property
    def spent(self) -> Spent:
        """Noisy images that were sent through networks."""
        branches = self.estimation.shape[1]
        return Spent(queries=branches * (int(self.samples.sum()) + self.selection_samples * len(self.samples)))

    def evidence(
        self,
        classifier: Classifier,
        example_ids: Sequence[str],
        labels: Sequence[int | None] | None = None,
        *,
        setting: str,
        unit_ids: Sequence[str | None] | None = None,
    ) -> Evidence:
        """One row for each image: the certified class as prediction, the radius as value; an abstention has none."""
        held = self.prediction >= 0
        extra: dict[str, Any] = {
            "samples": pa.array(self.samples.tolist(), pa.int64()),
            "lower_bounds": pa.array(self.lower.tolist(), pa.list_(pa.float64())),
            "votes": pa.array(self.estimation.tolist(), pa.list_(pa.list_(pa.int64()))),
            "selection_votes": pa.array(self.selection.tolist(), pa.list_(pa.list_(pa.int64()))),
            "guarantee": pa.array([self.guarantee] * len(held), pa.bool_()),
        }
        return Evidence.of(
            example_ids,
            setting=setting,
            model=classifier.name,
            unit_ids=unit_ids,
            label=labels,
            prediction=[p if h else None for p, h in zip(self.prediction.tolist(), held.tolist(), strict=True)],
            value=self.radius.double().tolist(),
            reason=[None if h else ABSTAINS for h in held.tolist()],
            extra=extra,
            spent=self.spent,
            control="the votes themselves are kept: another formula can be applied to them",
            assumptions=[f"{setting}: {assumption}" for assumption in self.assumptions],
        )


def certified_correct(radii: NDArray[np.floating], right: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Of which images the right class is certified at a radius: bool (n,). An abstention is wrong."""
    if radii.shape != right.shape:
        raise InputError(f"{radii.shape} radii and {right.shape} decisions are not of the same images")
    return right & (radii >= radius)


def certified_curve(radii: NDArray[np.floating], right: NDArray[np.bool_], at: Sequence[float]) -> tuple[float, ...]:
    """Share of the images whose right class is certified, at each radius.

    >>> certified_curve(np.array([0.5, 1.0, 0.0]), np.array([True, True, False]), [0.0, 0.75])
    (0.6666666666666666, 0.3333333333333333)

    Args:
        radii: of n images, 0 where it abstains.
        right: whether the certified class is the right one; False where it abstains.
        at: radii.
    """
    return tuple(float(certified_correct(radii, right, radius).mean()) for radius in at)


def average_radius(radii: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Average certified radius (ACR): the mean over all images, 0 where it is wrong or abstains.

    >>> average_radius(np.array([0.5, 1.0, 0.7]), np.array([True, True, False]))
    0.5
    """
    return float(np.where(right, radii, 0.0).mean())
