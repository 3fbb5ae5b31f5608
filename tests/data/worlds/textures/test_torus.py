"""Cells that a picture's translations join draw the same values."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from snellen.data.worlds.textures.patterns import Torus, cell_and_share

WHOLE = st.integers(-9, 9)


def torus_of(matrix: list[list[int]], u: torch.Tensor, v: torch.Tensor) -> Torus:
    return Torus(
        seeds=torch.tensor([5]), frequency=torch.tensor([matrix]), u=u[None], v=v[None], width=torch.ones(1, 1, 1)
    )


@settings(max_examples=60, deadline=None)
@given(
    rows=st.tuples(WHOLE, WHOLE, WHOLE, WHOLE),
    by=st.tuples(WHOLE, WHOLE),
    scale=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_translations_of_the_picture_change_nothing(
    rows: tuple[int, int, int, int], by: tuple[int, int], scale: tuple[int, int]
) -> None:
    a, b, c, d = rows
    assume(a * d - b * c > 0)
    u, v = torch.meshgrid(torch.arange(-20, 20) / 8, torch.arange(-20, 20) / 8, indexing="ij")
    here = torus_of([[a, b], [c, d]], u, v)
    there = torus_of([[a, b], [c, d]], u + a * by[0] + b * by[1], v + c * by[0] + d * by[1])
    assert torch.equal(here.noise("grain", scale=scale), there.noise("grain", scale=scale))


def test_a_torus_of_determinant_n_has_n_different_cells() -> None:
    i, j = torch.meshgrid(torch.arange(-30, 30), torch.arange(-30, 30), indexing="ij")
    for matrix in ([[5, 2], [-2, 5]], [[4, 0], [0, 4]], [[3, 1], [1, 2]], [[6, 3], [-3, 6]]):
        torus = torus_of(matrix, i.float(), j.float())
        found = len(np.unique(torus.cell_values("cells", i[None], j[None]).numpy()))
        assert found == round(float(np.linalg.det(matrix)))


def test_edges_are_one_pixel_wide() -> None:
    torus = torus_of([[1, 0], [0, 1]], torch.zeros(1, 1), torch.zeros(1, 1))
    assert torus.edge(torch.tensor([-1.0, -0.5, 0.0, 0.25, 0.5, 2.0])).flatten().tolist() == [0, 0, 0.5, 0.75, 1, 1]
    cells, shares = cell_and_share(torch.tensor([-0.25, 1.5]))
    assert (cells.tolist(), shares.tolist()) == ([-1, 1], [0.75, 0.5])
