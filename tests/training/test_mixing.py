"""Mixup and CutMix: images and labels are mixed by the same shares."""

from __future__ import annotations

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training.mixing import cutmix, mixed_targets, mixup, partners, pasted_boxes
from snellen.training.transforms import BatchTransform

COUNT, CLASSES = 64, 64
RNG = Randomness(3).for_examples([str(number) for number in range(COUNT)])
#: Image number n is n everywhere, and of class n.
FLAT = torch.arange(COUNT, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
LABELS = torch.arange(COUNT)


@pytest.mark.parametrize("mix", [mixup(CLASSES, 1.0), cutmix(CLASSES)], ids=["mixup", "cutmix"])
def test_labels_follow_pixels(mix: BatchTransform) -> None:
    images, targets = mix(FLAT, LABELS, RNG)
    assert torch.allclose(targets.sum(1), torch.ones(COUNT))
    assert torch.allclose(images.mean((1, 2, 3)), targets @ torch.arange(CLASSES, dtype=torch.float32), atol=1e-3)
    assert 0.2 < float(targets[torch.arange(COUNT), LABELS].mean()) < 0.8, "about half is the own label"
    again, _ = mix(FLAT, LABELS, RNG)
    assert torch.equal(again, images)
    assert not torch.equal(mix(FLAT, LABELS, RNG.child("next"))[0], images)


def test_cutmix_pastes_boxes_and_counts_what_was_clipped() -> None:
    images, targets = cutmix(CLASSES)(FLAT, LABELS, RNG)
    boxes = pasted_boxes(RNG, FLAT, 1.0, 1.0)
    partner = partners(RNG)
    assert torch.equal(images, torch.where(boxes.bool(), FLAT[partner], FLAT))
    moved = (partner != LABELS).nonzero().flatten()
    share = boxes.flatten(1).mean(1)
    assert torch.allclose(targets[moved, partner[moved]], share[moved])
    for box in boxes[:, 0]:
        rows, columns = box.any(1).nonzero().flatten(), box.any(0).nonzero().flatten()
        assert float(box.sum()) == len(rows) * len(columns), "a rectangle"
        if len(rows):
            assert int(rows[-1] - rows[0]) + 1 == len(rows)


def test_probability_and_alpha() -> None:
    none, targets = cutmix(CLASSES, probability=0.0)(FLAT, LABELS, RNG)
    assert torch.equal(none, FLAT)
    assert torch.equal(targets.argmax(1), LABELS)
    half = pasted_boxes(RNG, FLAT, 1.0, 0.5).flatten(1).any(1)
    whole = pasted_boxes(RNG, FLAT, 1.0, 1.0).flatten(1).any(1)
    assert 0.3 < float(half.sum() / whole.sum()) < 0.7
    weak, _ = mixup(CLASSES, 0.01)(FLAT, LABELS, RNG)
    own = (weak.mean((1, 2, 3)) - LABELS).abs() < 0.5
    partner_only = (weak.mean((1, 2, 3)) - partners(RNG)).abs() < 0.5
    assert float((own | partner_only).float().mean()) > 0.9, "a small alpha hardly mixes"


def test_soft_targets_and_tables_of_labels_are_mixed_too() -> None:
    table = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    mixed = mixed_targets(table, torch.tensor([1, 0]), torch.tensor([0.25, 1.0]), 3)
    assert mixed.tolist() == [[0.25, 0.25, 0.75], [0.0, 0.0, 1.0]]


def test_refusals() -> None:
    with pytest.raises(InputError, match="alpha is a number above 0"):
        mixup(3, 0.0)
    with pytest.raises(InputError, match="a probability lies in"):
        cutmix(3, probability=1.5)
    with pytest.raises(InputError, match=r"class indices \(n,\) or probabilities \(n, 3\)"):
        mixed_targets(torch.zeros(2, 4), torch.tensor([1, 0]), torch.ones(2), 3)
