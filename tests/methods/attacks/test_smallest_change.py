"""The smallest change onto a hyperplane: against linear programming, a peer's numbers, and what defines it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snellen.methods.attacks.fab import smallest_change

optimize = pytest.importorskip("scipy.optimize")

POINTS = torch.tensor([[0.1, 0.5, 0.95, 0.3], [0.0, 1.0, 0.2, 0.6], [0.5, 0.5, 0.5, 0.5]])
NORMALS = torch.tensor([[1.0, -2.0, 0.5, 0.0], [-1.0, 3.0, 0.25, -0.5], [2.0, -1.0, 0.5, 0.5]])
LEVELS = torch.tensor([0.3, 1.0, -2.0])

#: By projection_linf and projection_l2 of pyautoattack 0.2.0 (the authors' code) on the three rows above; the last
#: plane is out of reach, and both go to the nearest corner.
PEER = {
    "linf": [
        [0.233333, -0.233333, 0.05, 0.0],
        [0.377778, -0.377778, -0.2, 0.377778],
        [-0.5, 0.5, -0.5, -0.5],
    ],
    "l2": [
        [0.14, -0.28, 0.05, 0.0],
        [0.169697, -0.509091, -0.042424, 0.084848],
        [-0.5, 0.5, -0.5, -0.5],
    ],
}


def levels_to_gaps(points, normals, levels):
    return levels - (points * normals).sum(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_equals_the_numbers_of_the_authors_code(norm):
    changes = smallest_change(POINTS, NORMALS, levels_to_gaps(POINTS, NORMALS, LEVELS), norm=norm)
    assert torch.allclose(changes, torch.tensor(PEER[norm]), atol=1e-6)


def test_is_as_short_as_linear_programming_says():
    generator = np.random.default_rng(0)
    for _ in range(30):
        size = int(generator.integers(2, 12))
        point, normal = generator.random(size), generator.normal(size=size)
        point[generator.random(size) < 0.3] = 0
        gap = 0.7 * generator.uniform(-1, 1) * np.abs(normal).sum() * 0.3
        # Variables: the change and its largest absolute value.
        above = np.block([[np.eye(size), -np.ones((size, 1))], [-np.eye(size), -np.ones((size, 1))]])
        solved = optimize.linprog(
            np.r_[np.zeros(size), 1.0],
            A_ub=above,
            b_ub=np.zeros(2 * size),
            A_eq=np.r_[normal, 0.0][None],
            b_eq=[gap],
            bounds=[(-p, 1 - p) for p in point] + [(0, None)],
        )
        change = smallest_change(
            torch.tensor(point)[None], torch.tensor(normal)[None], torch.tensor([gap]), norm="linf"
        )
        if solved.success:
            assert abs(float(change.abs().max()) - solved.fun) < 1e-9
            assert abs(float((change[0] * torch.tensor(normal)).sum()) - gap) < 1e-9


@given(seed=st.integers(0, 10_000), size=st.integers(1, 40), reach=st.floats(0.01, 0.95))
def test_meets_the_plane_inside_the_box_and_no_other_change_is_shorter(seed, size, reach):
    generator = torch.Generator().manual_seed(seed)
    point = torch.rand(1, size, generator=generator, dtype=torch.float64)
    normal = torch.randn(1, size, generator=generator, dtype=torch.float64)
    # A plane that some point of the box lies on: a share of the way to the far corner.
    gap = reach * (normal.abs() * torch.where(normal > 0, 1 - point, point)).sum(1)
    for norm, order in (("linf", torch.inf), ("l2", 2)):
        change = smallest_change(point, normal, gap, norm=norm)
        assert (change + point >= -1e-12).all()
        assert (change + point <= 1 + 1e-12).all()
        assert abs(float((change * normal).sum() - gap)) < 1e-9
        shortest = torch.linalg.vector_norm(change, order)
        # Any other feasible change: mixed with one that gains as much by another route.
        other = reach * torch.where(normal > 0, 1 - point, -point)
        for weight in (0.01, 0.3, 1.0):
            mixed = (1 - weight) * change + weight * other
            assert torch.linalg.vector_norm(mixed, order) >= shortest - 1e-9


def test_rows_do_not_depend_on_one_another_and_shapes_are_kept():
    generator = torch.Generator().manual_seed(3)
    points = torch.rand(6, 3, 5, 4, generator=generator)
    normals = torch.randn(6, 3, 5, 4, generator=generator)
    gaps = torch.randn(6, generator=generator) * 3
    for norm in ("linf", "l2"):
        whole = smallest_change(points, normals, gaps, norm=norm)
        assert whole.shape == points.shape
        for row in range(6):
            alone = smallest_change(points[[row]], normals[[row]], gaps[[row]], norm=norm)
            assert torch.allclose(alone[0], whole[row], atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_nothing_moves_along_a_zero_normal_or_over_no_gap(norm):
    point = torch.rand(2, 7)
    assert not smallest_change(point, torch.zeros(2, 7), torch.tensor([1.0, -1.0]), norm=norm).any()
    assert not smallest_change(point, torch.ones(2, 7), torch.zeros(2), norm=norm).any()


def test_tiny_and_huge_normals_give_the_same_change():
    point, normal = torch.tensor([[0.2, 0.6, 0.9]]), torch.tensor([[1.0, -2.0, 3.0]])
    for norm in ("linf", "l2"):
        expected = smallest_change(point, normal, torch.tensor([0.5]), norm=norm)
        for scale in (1e-12, 1e12):
            scaled = smallest_change(point, normal * scale, torch.tensor([0.5 * scale]), norm=norm)
            assert torch.allclose(scaled, expected, atol=1e-5)
