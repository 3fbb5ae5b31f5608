"""Squares of a random search: the paper's sizes, places in the whole image, and budgets that add up."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snellen.methods.attacks.perturbation.squares import (
    Windows,
    bump,
    corners,
    share_of_pixels,
    side_of_square,
    with_moved_mass,
    with_squares_at_bounds,
)

#: By SquareAttack.eta of pyautoattack 0.2.0 (the authors' code), the bumps one above the other.
PEER = [
    [0.049162, 0.159777, 0.159777, 0.159777, 0.049162],
    [0.049162, 0.159777, 0.602237, 0.159777, 0.049162],
    [-0.04559, -0.148168, -0.148168, -0.148168, -0.04559],
    [-0.04559, -0.148168, -0.558479, -0.148168, -0.04559],
    [-0.04559, -0.148168, -0.148168, -0.148168, -0.04559],
]


def test_shares_halve_where_the_paper_says():
    # Andriushchenko et al. (2020), section 3.1: p is halved at 10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000.
    shares = [share_of_pixels(query, 10_000, 0.8) for query in range(10_000)]
    changes = [query for query in range(1, 10_000) if shares[query] != shares[query - 1]]
    assert changes == [11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001]
    assert all(shares[query] == shares[query - 1] / 2 for query in changes)


def test_the_schedule_is_fitted_to_the_budget():
    assert [share_of_pixels(query, 5_000, 0.8) for query in (5, 6, 4_999)] == [0.8, 0.4, 0.8 / 512]
    assert share_of_pixels(999_999, 1_000_000, 0.8) == 0.8 / 512


@pytest.mark.parametrize(
    ("share", "size", "side", "odd_side"),
    [
        (0.8, 32, 29, 29),
        (0.4, 32, 20, 21),
        (0.05, 32, 7, 7),
        (0.8 / 512, 32, 1, 3),
        (0.8, 224, 200, 201),
        (1.0, 4, 4, 3),
    ],
)
def test_sides_are_those_of_the_paper(share, size, side, odd_side):
    assert side_of_square(share, size, size) == side
    assert side_of_square(share, size, size, odd=True) == odd_side


@given(share=st.floats(1e-6, 1), height=st.integers(1, 40), width=st.integers(1, 40))
def test_a_square_lies_inside_the_image(share, height, width):
    assert 1 <= side_of_square(share, height, width) <= min(height, width)
    odd = side_of_square(share, height, width, odd=True)
    assert odd % 2 == 1
    assert odd <= min(height, width)


def test_places_are_uniform_and_reach_the_last_row_and_column():
    draws = torch.rand(20_000, 1, 2, generator=torch.Generator().manual_seed(0))
    places = corners(draws, [3], 7, 5)[:, 0]
    counts = torch.bincount(places[:, 0], minlength=5)
    assert len(counts) == 5, "rows 0 to 4 for a square of 3 in 7 rows"
    assert (counts.double() / 4000 - 1).abs().max() < 0.06
    assert places[:, 1].unique().tolist() == [0, 1, 2]
    assert corners(torch.full((1, 1, 2), 1 - 1e-8), [3], 7, 5).max() <= 4, "a draw that rounds up to 1"


def test_bumps_equal_the_numbers_of_the_authors_code():
    assert torch.allclose(bump(5), torch.tensor(PEER, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 3, 5, 6, 9, 25])
def test_bumps_have_length_one_and_two_signs(side):
    bumps = bump(side)
    assert float(bumps.norm()) == pytest.approx(1)
    if side > 1:
        assert (bumps[: side // 2] > 0).all()
        assert (bumps[side // 2 :] < 0).all()


def test_a_square_at_the_bounds_changes_the_square_alone():
    images = torch.tensor([0.5, 0.02]).view(2, 1, 1, 1).expand(2, 3, 6, 6).contiguous()
    windows = Windows(torch.tensor([[1, 2], [3, 3]]), 3)
    positive = torch.tensor([[True, False, True], [False, False, False]])
    changed = with_squares_at_bounds(images, images, windows, positive, 0.1)
    inside = torch.zeros(2, 1, 6, 6, dtype=torch.bool)
    inside[0, :, 1:4, 2:5], inside[1, :, 3:6, 3:6] = True, True
    assert torch.equal(changed != images, inside.expand(2, 3, 6, 6))
    assert torch.allclose(changed[0, :, 1, 2], torch.tensor([0.6, 0.4, 0.6]))
    assert (changed[1, :, 3, 3] == 0).all(), "cut with [0, 1]"
    assert torch.equal(images[0], torch.full((3, 6, 6), 0.5)), "the input is left alone"


@given(seed=st.integers(0, 5_000), side=st.sampled_from([3, 5]))
def test_moved_mass_keeps_the_whole_length_at_epsilon(seed, side):
    generator = torch.Generator().manual_seed(seed)
    images = torch.full((4, 3, 9, 9), 0.5, dtype=torch.float64)
    change = torch.randn(4, 3, 9, 9, generator=generator, dtype=torch.float64)
    # Some of the length is unused, as after a cut with the box.
    best = images + change / change.flatten(1).norm(dim=1).view(-1, 1, 1, 1) * 0.3
    places = torch.randint(0, 9 - side + 1, (2, 4, 2), generator=generator)
    windows, source = Windows(places[0], side), Windows(places[1], side)
    moved = with_moved_mass(best, images, windows, source, bump(side).expand(4, 3, side, side), 0.4)
    assert torch.allclose((moved - images).flatten(1).norm(dim=1), torch.tensor(0.4, dtype=torch.float64))
    both = torch.zeros(4, 1, 9, 9, dtype=torch.bool)
    for row in range(4):
        for top, left in (places[0, row].tolist(), places[1, row].tolist()):
            both[row, :, top : top + side, left : left + side] = True
    outside = ~both.expand(4, 3, 9, 9)
    assert torch.equal(moved[outside], best[outside]), "what neither square holds stays"
