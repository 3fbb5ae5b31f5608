"""What smoothing certifies, with everything from which it can be computed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from torch import Tensor

from snellen.core.budget import Spent
from snellen.core.classifier import Classifier
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
