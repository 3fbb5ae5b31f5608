"""Moments by batches against all features at once."""

from __future__ import annotations

import pytest
import torch

from snellen.core.errors import InputError
from snellen.metrics.feature_moments import FeatureMoments, frechet_of_moments
from snellen.metrics.generated_images import frechet_distance


def moments(features: torch.Tensor, together: int) -> FeatureMoments:
    found = FeatureMoments()
    for part in features.split(together):
        found.add(part)
    return found


@pytest.mark.parametrize("count", [40, 5])  # more features than numbers, and fewer
def test_the_distance_is_that_of_all_features_at_once(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(count, 8, generator=generator)
    second = 2 * torch.randn(30, 8, generator=generator) @ torch.randn(8, 8, generator=generator) + 1
    found = frechet_of_moments(moments(first, 3), moments(second, 7))
    assert found == pytest.approx(frechet_distance(first, second), rel=1e-5)


def test_other_widths_and_single_features_are_errors() -> None:
    with pytest.raises(InputError, match="got"):
        moments(torch.zeros(2, 3), 2).add(torch.zeros(2, 4))
    with pytest.raises(InputError, match="two features"):
        frechet_of_moments(moments(torch.zeros(1, 3), 1), moments(torch.zeros(2, 3), 2))
