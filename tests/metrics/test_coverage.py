import pytest
import torch

from snellen.core.errors import InputError
from snellen.metrics.generated_images import coverage, density


def drawn(count: int, seed: int, spread: float = 1.0) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) * spread


def by_hand(real: torch.Tensor, generated: torch.Tensor, neighbours: int) -> tuple[float, float]:
    """Coverage and density, one image after another."""
    covered, inside = 0, 0
    for one in real:
        radius = sorted(float((one - other).norm()) for other in real)[neighbours]
        hits = sum(float((one - other).norm()) <= radius for other in generated)
        covered, inside = covered + (hits > 0), inside + hits
    return covered / len(real), inside / (neighbours * len(generated))


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_both_equal_a_count_by_hand(neighbours):
    real, generated = drawn(40, 0), drawn(30, 1, 0.7)
    expected = by_hand(real, generated, neighbours)
    assert coverage(real, generated, neighbours=neighbours) == pytest.approx(expected[0])
    assert density(real, generated, neighbours=neighbours) == pytest.approx(expected[1])


def test_images_of_the_same_kind_are_near_one_and_a_single_image_covers_almost_nothing():
    real, same = drawn(1500, 2), drawn(1500, 3)
    assert coverage(real, same) > 0.9
    assert density(real, same) == pytest.approx(1.0, abs=0.1)
    collapsed = same[:1].expand(1500, -1)
    assert coverage(real, collapsed) < 0.05


def test_images_far_away_cover_nothing_and_are_in_no_neighbourhood():
    real = drawn(50, 4)
    assert coverage(real, real + 100) == 0
    assert density(real, real + 100) == 0


def test_features_far_from_zero_give_what_they_give_around_it():
    # Eighths, so that the shift rounds nothing.
    real, same = ((drawn(200, seed) * 8).round() / 8 for seed in (5, 6))
    assert coverage(real + 4096, same + 4096) == coverage(real, same)
    assert density(real + 4096, same + 4096) == density(real, same)


@pytest.mark.parametrize(
    ("real", "generated", "neighbours", "said"),
    [
        (torch.zeros(5, 2), torch.zeros(4, 2), 5, "from 1 to 4"),
        (torch.zeros(5, 2), torch.zeros(4, 2), 0, "from 1 to 4"),
        (torch.zeros(5, 2), torch.zeros(4, 3), 2, r"\(5, 2\) and \(4, 3\)"),
        (torch.zeros(5, 2), torch.zeros(0, 2), 2, r"\(0, 2\)"),
    ],
)
def test_too_few_images_or_other_widths_are_refused(real, generated, neighbours, said):
    with pytest.raises(InputError, match=said):
        coverage(real, generated, neighbours=neighbours)
