"""Edges, distances and equalisation: OpenCV's own results, closed forms, any size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from snellen.methods.corruptions.edges import box, canny, distance_to_edge, emboss, equalise


@pytest.fixture(scope="module")
def opencv() -> dict[str, Tensor]:
    """Results of OpenCV 5.0.0 on five planes of 40 x 48: the file's metadata say how they were made."""
    return load_file(Path(__file__).parent / "golden" / "opencv_edges.safetensors")


def test_equal_to_opencv(opencv: dict[str, Tensor]) -> None:
    planes = opencv["planes"].float()
    assert 0.02 < float(opencv["edges"].float().mean()) < 0.5
    assert torch.equal(canny(planes, 50, 150), opencv["edges"])
    assert torch.equal(distance_to_edge(opencv["edges"], 20), opencv["distances"])
    assert torch.equal(box(opencv["distances"]).floor(), opencv["means"].float())
    assert torch.equal(equalise(opencv["means"]), opencv["equalised"].float())
    assert torch.equal(emboss(opencv["equalised"].float()), opencv["embossed"].float())
    assert torch.equal(box(opencv["embossed"].float()).round(), opencv["smoothed"].float())


def test_weak_edges_count_where_they_touch_a_strong_one() -> None:
    # A step whose height falls from row to row: strong at the top, weak below; the lowest rows are too flat.
    heights = torch.linspace(100, 0, 21).round()
    plane = torch.zeros(1, 21, 8)
    plane[0, :, 4:] = heights[:, None]
    strengths = [row[3:5].max() for row in canny(plane, 50, 150)[0]]
    assert all(strengths[:16])
    assert not any(strengths[19:])
    assert not canny(plane, 50, 1000).any()
    alone = torch.zeros_like(plane)
    alone[:, :, 4:] = 30  # weak everywhere
    assert canny(alone, 50, 100).any()
    assert not canny(alone, 50, 150).any()


@pytest.mark.parametrize("limit", [1.0, 2.5, 20.0])
def test_distance_is_the_shortest_way_in_steps(limit: float) -> None:
    edges = torch.rand(3, 30, 41, generator=torch.Generator().manual_seed(0)) < 0.003
    edges[:, 4, 5] = True
    ours = distance_to_edge(edges, limit)
    rows, columns = np.indices((30, 41))
    for plane, distances in zip(edges.numpy(), ours, strict=True):
        expected = np.full((30, 41), limit)
        for row, column in zip(*plane.nonzero(), strict=True):
            longer = np.maximum(abs(rows - row), abs(columns - column))
            shorter = np.minimum(abs(rows - row), abs(columns - column))
            knights = np.minimum(shorter, longer - shorter)
            diagonals = shorter - knights
            ways = 2.1969 * knights + 1.4 * diagonals + (longer - 2 * knights - diagonals)
            expected = np.minimum(expected, ways)
        np.testing.assert_allclose(distances, expected, atol=2e-4)
        euclidean = np.minimum(distance_transform_edt(~plane), limit)
        np.testing.assert_allclose(distances, euclidean, rtol=0.025)


def test_without_edges_all_is_far() -> None:
    assert torch.equal(distance_to_edge(torch.zeros(2, 5, 6, dtype=torch.bool), 20), torch.full((2, 5, 6), 20.0))


def test_equalised_values_are_spread() -> None:
    planes = torch.randint(0, 21, (3, 50, 60), generator=torch.Generator().manual_seed(0))
    spread = equalise(planes)
    assert spread.amin((1, 2)).tolist() == [0.0] * 3
    assert spread.amax((1, 2)).tolist() == [255.0] * 3
    assert float(spread.mean()) == pytest.approx(127.5, abs=8)
    assert equalise(torch.full((1, 3, 3), 9)).unique().tolist() == [9.0]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (2, 1), (3, 3)])
def test_any_size(height: int, width: int) -> None:
    planes = torch.randint(0, 256, (2, height, width), generator=torch.Generator().manual_seed(0)).float()
    edges = canny(planes, 50, 150)
    for result in (edges, distance_to_edge(edges, 20), equalise(planes), box(planes), emboss(planes)):
        assert result.shape == planes.shape
    assert canny(planes[:0], 50, 150).shape == (0, height, width)
    assert equalise(planes[:0]).shape == (0, height, width)
    torch.testing.assert_close(box(torch.ones(1, height, width)), torch.ones(1, height, width))
