"""Pooling of label maps: RoIAlign's own numbers, half-pixel convention, axes, absent classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align

from snellen.core.errors import InputError
from snellen.systems.label_maps.sparse import (
    SparseMaps,
    box_weights,
    crop_targets,
    keep_largest,
    pooled_scores,
    whole_boxes,
)

CLASSES = 12


def random_maps(count: int = 6, height: int = 7, width: int = 11, kept: int = 4) -> SparseMaps:
    generator = torch.Generator().manual_seed(0)
    return keep_largest(4 * torch.randn(count, CLASSES, height, width, generator=generator), kept)


def official(maps: SparseMaps, boxes: Tensor) -> Tensor:
    """The dense map through torchvision's RoIAlign, with the half pixel taken off by hand."""
    dense = maps.dense(CLASSES)
    height, width = dense.shape[2:]
    scaled = boxes * torch.tensor([width, height, width, height]) - 0.5
    numbered = torch.cat([torch.arange(len(boxes))[:, None].float(), scaled], 1)
    return roi_align(dense, numbered, output_size=1, sampling_ratio=-1, aligned=False)[:, :, 0, 0]


def random_boxes(count: int, seed: int) -> Tensor:
    ends = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)).sort(2).values
    return torch.stack([ends[:, 0, 0], ends[:, 1, 0], ends[:, 0, 1], ends[:, 1, 1]], 1)


@pytest.mark.covers("9.7")
@pytest.mark.covers("9.5")
def test_equals_roi_align() -> None:
    maps = random_maps()
    hard = torch.tensor(
        [
            [0.0, 0.0, 1.0, 1.0],
            [0.0, 0.3, 0.02, 0.9],  # narrower than a cell, at the left border
            [0.99, 0.99, 1.0, 1.0],  # tiny, in the last corner
            [0.4, 0.0, 0.8, 0.05],
            [0.5, 0.5, 0.5, 0.5],  # no area at all
            [0.0, 0.2, 1.0, 0.7],
        ]
    )
    for boxes in (hard, *(random_boxes(6, seed) for seed in range(20))):
        pooled = pooled_scores(maps, boxes, CLASSES)
        assert torch.isfinite(pooled).all()
        assert torch.allclose(pooled, official(maps, boxes), atol=1e-5), (pooled - official(maps, boxes)).abs().max()


@pytest.mark.covers("9.6")
def test_whole_box_is_the_plain_mean_and_a_constant_stays() -> None:
    maps = random_maps(kept=CLASSES)
    whole = pooled_scores(maps, whole_boxes(6), CLASSES)
    assert torch.allclose(whole, maps.dense(CLASSES).mean((2, 3)), atol=1e-5)
    constant = SparseMaps(torch.full((6, 1, 5, 3), 2.5), torch.full((6, 1, 5, 3), 7))
    for seed in range(5):
        pooled = pooled_scores(constant, random_boxes(6, seed), CLASSES)
        assert torch.allclose(pooled[:, 7], torch.tensor(2.5), atol=1e-6)
        assert int(pooled[:, :7].count_nonzero()) == 0
    rows, columns = box_weights(random_boxes(6, 1), 5, 9)
    assert torch.allclose(rows.sum(1), torch.ones(6), atol=1e-6)
    assert torch.allclose(columns.sum(1), torch.ones(6), atol=1e-6)


@pytest.mark.covers("9.1")
@pytest.mark.covers("9.5")
def test_a_left_crop_is_what_is_left() -> None:
    """Classes 3 and 8 beside each other on a map that is wider than high; transposed, they lie above each other."""
    values, indices = torch.full((1, 1, 3, 8), 6.0), torch.full((1, 1, 3, 8), 3)
    indices[..., 4:] = 8
    beside = SparseMaps(values, indices)
    boxes = {"left": [0.0, 0.0, 0.5, 1.0], "right": [0.5, 0.0, 1.0, 1.0], "top": [0.0, 0.0, 1.0, 0.5]}
    seen = {name: crop_targets(beside, torch.tensor([box]), CLASSES)[0] for name, box in boxes.items()}
    assert int(seen["left"].argmax()) == 3
    assert int(seen["right"].argmax()) == 8
    assert torch.allclose(seen["top"], crop_targets(beside, whole_boxes(1), CLASSES)[0])
    both = crop_targets(beside, whole_boxes(1), CLASSES)[0]
    assert min(float(both[3]), float(both[8])) > 0.2
    above = SparseMaps(values.transpose(2, 3), indices.transpose(2, 3))
    assert int(crop_targets(above, torch.tensor([boxes["top"]]), CLASSES).argmax()) == 3


@pytest.mark.covers("9.3")
def test_softmax_comes_after_pooling() -> None:
    maps = SparseMaps(torch.tensor([[[[9.0, 1.0]]]]), torch.tensor([[[[0, 1]]]]))
    target = crop_targets(maps, whole_boxes(1), 3)[0]
    assert torch.allclose(target, torch.tensor([4.5, 0.5, 0.0]).softmax(0))
    probabilities = maps.dense(3).softmax(1).mean((2, 3))[0]
    assert float((target - probabilities).abs().max()) > 0.3


@pytest.mark.covers("9.4")
def test_what_a_missing_class_counts() -> None:
    one = SparseMaps(torch.full((1, 1, 2, 2), 10.0), torch.full((1, 1, 2, 2), 4))
    highest = float(crop_targets(one, whole_boxes(1), 1000).max())
    assert highest == pytest.approx(math.exp(10) / (math.exp(10) + 999), abs=1e-5)
    assert highest < 22027 / (22027 + 999)
    dense = torch.tensor([[5.0, 1.0], [2.0, 4.0], [-3.0, 0.5]])[None, :, None, :]  # (1, 3, 1, 2)
    maps = keep_largest(dense, 2)
    expected = {
        "zero": [3.0, 3.0, 0.0],
        "min": [3.0, 3.0, (2.0 + 1.0) / 2],
        "neg_inf": [3.0, 3.0, -math.inf],
    }
    for missing, scores in expected.items():
        pooled = pooled_scores(maps, whole_boxes(1), 3, missing)
        assert pooled[0].tolist() == pytest.approx(scores)
        assert torch.isfinite(crop_targets(maps, whole_boxes(1), 3, missing)).all()
    # Kept at one place only: elsewhere it counts as zero, the least kept, or zero.
    alone = keep_largest(dense, 1)
    left = {missing: pooled_scores(alone, whole_boxes(1), 3, missing)[0].tolist() for missing in expected}
    assert left == {"zero": [2.5, 2.0, 0.0], "min": [4.5, 4.5, 4.5], "neg_inf": [2.5, 2.0, -math.inf]}


def test_a_batch_is_its_examples() -> None:
    maps, boxes = random_maps(), random_boxes(6, 3)
    alone = [
        crop_targets(SparseMaps(maps.values[n : n + 1], maps.indices[n : n + 1]), boxes[n : n + 1], CLASSES)
        for n in range(6)
    ]
    assert torch.allclose(crop_targets(maps, boxes, CLASSES), torch.cat(alone), atol=1e-6)
    assert torch.allclose(crop_targets(maps, boxes, CLASSES).sum(1), torch.ones(6))


@pytest.mark.parametrize(
    ("box", "match"),
    [
        ([0.2, 0.0, 1.1, 1.0], "shares of width and height"),
        ([0.6, 0.0, 0.4, 1.0], "shares of width and height"),
        ([math.nan, 0.0, 1.0, 1.0], "shares of width and height"),
    ],
)
def test_refuses_boxes_that_are_none(box: list[float], match: str) -> None:
    with pytest.raises(InputError, match=match):
        pooled_scores(random_maps(1), torch.tensor([box]), CLASSES)


def test_refuses_what_does_not_belong_together() -> None:
    with pytest.raises(InputError, match="6 label maps came with 2 boxes"):
        pooled_scores(random_maps(), whole_boxes(2), CLASSES)
    with pytest.raises(InputError, match=r"\(n, 4\)"):
        box_weights(torch.zeros(4), 3, 3)
    with pytest.raises(InputError, match="not finite"):
        keep_largest(torch.full((1, 2, 1, 1), math.nan), 1)
    with pytest.raises(InputError, match="1 to 2 can be kept"):
        keep_largest(torch.zeros(1, 2, 1, 1), 3)
    with pytest.raises(InputError, match="values and indices"):
        SparseMaps(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, 1))
