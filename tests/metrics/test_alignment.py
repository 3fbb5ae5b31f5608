"""Alignment of representations: what does and does not change under rotation, and fitted maps."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.metrics.alignment import (
    channel_correlation,
    identity_residual,
    linear_cka,
    map_residual,
    neighbour_overlap,
    orthogonal_map,
    random_orthogonal,
    ridge_map,
)


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(200, 12, generator=generator) @ torch.diag(torch.linspace(0.5, 3, 12)) + 5


@pytest.fixture(scope="module")
def rotation():
    return random_orthogonal(12, torch.Generator().manual_seed(1)).float()


def test_cka_is_the_formula_of_the_paper(rows):
    other = rows[:, :7].relu() + rows[:, 5:12]
    x, y = (part.double() - part.double().mean(0) for part in (rows, other))
    # Of Gram matrices instead of covariances (Kornblith et al., eq. 4).
    k, q = x @ x.T, y @ y.T
    assert linear_cka(rows, other) == pytest.approx(float((k * q).sum() / (k.norm() * q.norm())))


@pytest.mark.covers("16.12")
def test_a_rotation_is_seen_by_the_measures_of_raw_transfer_only(rows, rotation):
    turned = rows @ rotation
    assert linear_cka(rows, turned) == pytest.approx(1, abs=1e-6)
    assert neighbour_overlap(rows, turned) == pytest.approx(1, abs=0.01)
    assert identity_residual(rows, rows) == 0
    assert channel_correlation(rows, rows) == pytest.approx(1)
    assert identity_residual(rows, turned) > 1
    assert abs(channel_correlation(rows, turned)) < 0.4


def test_unrelated_representations_are_reported(rows):
    other = torch.randn(200, 12, generator=torch.Generator().manual_seed(2))
    assert linear_cka(rows, other) < 0.15
    assert neighbour_overlap(rows, other) < 0.15
    same_size = other * (rows - rows.mean(0)).norm() / (other - other.mean(0)).norm()
    assert identity_residual(rows, same_size) == pytest.approx(2**0.5, abs=0.1)


def test_a_constant_channel_counts_as_no_correlation(rows):
    flat = rows.clone()
    flat[:, :6] = 2.0
    assert channel_correlation(rows, flat) == pytest.approx(0.5)


def test_the_procrustes_map_finds_a_rotation_and_is_orthogonal(rows, rotation):
    found = orthogonal_map(rows, rows @ rotation + 3)
    assert torch.allclose(found, rotation, atol=1e-4)
    assert torch.allclose(found @ found.T, torch.eye(12), atol=1e-5)
    assert map_residual(rows, rows @ rotation, found) < 1e-5


def test_no_rotation_is_nearer_than_the_procrustes_map(rows):
    target = (rows @ torch.randn(12, 12, generator=torch.Generator().manual_seed(3))).tanh()
    least = map_residual(rows, target, orthogonal_map(rows, target))
    for seed in range(20):
        assert least <= map_residual(rows, target, random_orthogonal(12, torch.Generator().manual_seed(seed)))


def test_ridge_is_least_squares_without_a_penalty_and_shrinks_with_one(rows):
    matrix = torch.randn(12, 5, generator=torch.Generator().manual_seed(4))
    target = rows @ matrix + 1
    assert torch.allclose(ridge_map(rows, target, strength=1e-9), matrix, atol=1e-3)
    assert ridge_map(rows, target, strength=10.0).norm() < 0.5 * matrix.norm()
    x, y = rows.double() - rows.double().mean(0), target.double() - target.double().mean(0)
    found, penalty = ridge_map(rows, target, strength=0.1).double(), 0.1 * float((x.T @ x).diagonal().mean())
    assert torch.allclose(x.T @ (x @ found - y) + penalty * found, torch.zeros(12, 5).double(), atol=0.05)


def test_a_map_of_few_rows_is_reported_by_what_was_kept_back(rows):
    noise = torch.randn(200, 12, generator=torch.Generator().manual_seed(5))
    few = ridge_map(rows[:13], noise[:13], strength=1e-9)
    assert map_residual(rows[:13], noise[:13], few) < 0.1
    assert map_residual(rows[13:], noise[13:], few) > 1


def test_haar_rotations_are_orthogonal_and_uniform():
    generator = torch.Generator().manual_seed(6)
    drawn = torch.stack([random_orthogonal(4, generator) for _ in range(800)])
    assert torch.allclose(drawn @ drawn.mT, torch.eye(4).double().expand(800, 4, 4), atol=1e-10)
    assert drawn.mean(0).abs().max() < 0.08
    assert torch.allclose((drawn**2).mean(0), torch.full((4, 4), 0.25).double(), atol=0.05)


@pytest.mark.parametrize("measure", [linear_cka, identity_residual, channel_correlation, neighbour_overlap])
def test_rows_that_do_not_pair_are_refused(measure, rows):
    with pytest.raises(InputError, match=r"same n > 1 examples.*got \(200, 12\) and \(3, 12\)"):
        measure(rows, rows[:3])
    with pytest.raises(InputError, match="finite"):
        measure(rows, torch.full_like(rows, torch.nan))
    with pytest.raises(InputError, match="not the same for all"):
        measure(rows, torch.ones_like(rows))


def test_other_refusals(rows):
    with pytest.raises(InputError, match="the same width d"):
        identity_residual(rows, rows[:, :3])
    with pytest.raises(InputError, match="1 to 199 neighbours, got neighbours=200"):
        neighbour_overlap(rows, rows, neighbours=200)
    with pytest.raises(InputError, match="above 0, got 0"):
        ridge_map(rows, rows, strength=0)
    with pytest.raises(InputError, match=r"from 12 columns to 12 columns|from 12 to 12 columns"):
        map_residual(rows, rows, torch.eye(3))
