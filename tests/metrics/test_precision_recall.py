import pytest
import torch

from snellen.core.errors import InputError
from snellen.metrics.generated_images import precision, recall


def drawn(count: int, seed: int, spread: float = 1.0) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) * spread


def by_hand(centres: torch.Tensor, points: torch.Tensor, neighbours: int) -> float:
    """Share of points within the reach of any centre, one after the other."""
    reach = [sorted(float((one - other).norm()) for other in centres)[neighbours] for one in centres]
    inside = [
        any(float((point - one).norm()) <= far for one, far in zip(centres, reach, strict=True)) for point in points
    ]
    return sum(inside) / len(inside)


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_both_equal_a_count_by_hand(neighbours):
    real, generated = drawn(40, 0), drawn(30, 1, 0.7)
    assert precision(real, generated, neighbours=neighbours) == pytest.approx(by_hand(real, generated, neighbours))
    assert recall(real, generated, neighbours=neighbours) == pytest.approx(by_hand(generated, real, neighbours))


def test_a_set_is_wholly_precise_and_recalled_by_itself():
    real = drawn(50, 2)
    assert precision(real, real) == recall(real, real) == 1.0


def test_a_lost_mode_costs_recall_and_a_strange_one_precision():
    left, right = drawn(400, 3), drawn(400, 4) + 100
    both = torch.cat([left, right])
    kept = drawn(400, 5)
    assert precision(both, kept) > 0.9
    assert recall(both, kept) == pytest.approx(0.5, abs=0.05)
    assert precision(left, torch.cat([kept, right])) == pytest.approx(0.5, abs=0.05)


def test_an_outlier_opens_precision_which_is_why_density_stands_beside_it():
    real = torch.cat([drawn(100, 6), torch.full((1, 3), 50.0)])
    assert precision(real, drawn(100, 7) + 20) == 1.0


@pytest.mark.parametrize(
    ("real", "generated", "neighbours", "said"),
    [
        (torch.zeros(5, 2), torch.zeros(9, 2), 5, "from 1 to 4"),
        (torch.zeros(5, 2), torch.zeros(4, 3), 2, r"\(5, 2\) and \(4, 3\)"),
        (torch.zeros(5, 2), torch.zeros(0, 2), 2, r"\(0, 2\)"),
        (torch.zeros(5, 2), torch.full((4, 2), float("nan")), 2, "must be finite"),
    ],
)
def test_what_has_no_neighbours_is_refused(real, generated, neighbours, said):
    with pytest.raises(InputError, match=said):
        precision(real, generated, neighbours=neighbours)
