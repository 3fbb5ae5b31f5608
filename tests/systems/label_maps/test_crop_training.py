"""What the model is shown and told: the box that names a crop is the box that was cut; CutMix by area, and its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.systems.label_maps.annotating import annotate
from snellen.systems.label_maps.crop_training import CropPlan, cut_and_name, on_label_maps
from snellen.systems.label_maps.matched_maps import MatchedMaps, look_up
from snellen.systems.label_maps.sparse import crop_targets
from snellen.training.batches import Batch, ImageStore, load_batch
from tests.systems.label_maps.annotators import NAMES, colour_annotator, two_sided

PLAN = CropPlan(side=8, smallest=0.08, flips=True, targets="localized_multi", missing="zero", last_mixed_epoch=3)
COUNT = 24


@pytest.fixture
def matched(tmp_path: Path) -> MatchedMaps:
    images = two_sided(COUNT)
    maps = annotate(images, colour_annotator(), tmp_path / "maps", kept=3)
    return look_up(
        maps,
        images.ids,
        class_names=NAMES,
        labels=torch.from_numpy(images.labels),
        sizes=dict.fromkeys(images.ids, (32, 16)),
        contents={one: images.content_hash(row) for row, one in enumerate(images.ids)},
    )


def batch(positions: Tensor, *, seed: int = 0, epoch: int = 1) -> Batch:
    squeezed = Preprocessing(size=(16, 16), resize="exact", resize_to=(16, 16))
    store = ImageStore.of_images(two_sided(COUNT), squeezed)
    return load_batch(store, positions, Randomness(seed).child("training", epoch), torch.device("cpu"), epoch=epoch)


@pytest.mark.covers("9.11")
def test_the_box_that_names_a_crop_is_the_box_that_was_cut(matched: MatchedMaps) -> None:
    """The annotator's score of a place is its colour there, so a crop's own mean colour must tell its target."""
    positions = torch.arange(COUNT)
    plain = replace(PLAN, flips=False)
    made = cut_and_name(batch(positions), matched, plain)
    again = cut_and_name(batch(positions), matched, plain)
    other = cut_and_name(batch(positions, seed=1), matched, plain)
    assert torch.equal(made.boxes, again.boxes)
    assert torch.equal(made.images, again.images)
    assert not torch.equal(made.boxes, other.boxes)
    mean_colour = made.images.mean((2, 3))
    sure = (mean_colour.max(1).values - mean_colour.median(1).values) > 0.25
    assert int(sure.sum()) > 8
    assert torch.equal(made.targets.argmax(1)[sure], mean_colour.argmax(1)[sure])
    maps, having = matched.of(positions)
    assert torch.equal(having, positions)
    assert torch.allclose(made.targets, crop_targets(maps, made.boxes, 3), atol=1e-6)
    # One by one it is the same: a crop does not depend on its batch.
    alone = cut_and_name(batch(positions[5:6]), matched, plain)
    assert torch.allclose(alone.targets[0], made.targets[5], atol=1e-6)
    assert torch.equal(alone.boxes[0], made.boxes[5])


def test_mirroring_changes_no_target(matched: MatchedMaps) -> None:
    positions = torch.arange(COUNT)
    flipped, plain = (cut_and_name(batch(positions), matched, replace(PLAN, flips=flips)) for flips in (True, False))
    assert torch.equal(flipped.targets, plain.targets)
    assert not torch.equal(flipped.images, plain.images)


def test_boxes_have_the_shape_of_the_original(matched: MatchedMaps) -> None:
    """Images are twice as wide as high: crops of the squeezed frame must be so in its own units."""
    wide = cut_and_name(batch(torch.arange(COUNT)), matched, replace(PLAN, smallest=0.08))
    left, top, right, bottom = wide.boxes.unbind(1)
    ratio = (right - left) * 32 / ((bottom - top) * 16)
    assert bool(((ratio > 0.74) & (ratio < 1.35)).all())


@pytest.mark.covers("9.9")
def test_cutmix_goes_by_the_pasted_area_and_ends(matched: MatchedMaps) -> None:
    """Whole images as crops of one colour each: the pasted share can be read off the pixels."""
    positions = torch.arange(COUNT)
    mixing = replace(PLAN, cutmix_probability=1.0, flips=False)
    given = batch(positions, epoch=3)
    flat = torch.zeros_like(given.images)
    flat[:, 0] = (positions % 2)[:, None, None].float()
    given = replace(given, images=flat)
    mixed = cut_and_name(given, matched, mixing)
    whole = cut_and_name(given, matched, replace(mixing, cutmix_probability=0.0))
    assert torch.equal(mixed.boxes, whole.boxes)
    assert torch.allclose(mixed.targets.sum(1), torch.ones(COUNT))
    changed = 0
    for row in range(COUNT):
        own = float((mixed.images[row, 0] == whole.images[row, 0]).float().mean())
        if own == 1:  # the partner had the same colour, or the box was empty
            continue
        changed += 1
        difference = mixed.targets[row] - own * whole.targets[row]
        partners = [p for p in range(COUNT) if torch.allclose((1 - own) * whole.targets[p], difference, atol=1e-5)]
        assert partners, f"row {row}: no crop's target fits the pasted area {1 - own:.3f}"
    assert changed > 5
    late = cut_and_name(replace(given, epoch=4), matched, mixing)
    assert torch.equal(late.targets, cut_and_name(replace(given, epoch=4), matched, PLAN).targets)


@pytest.mark.covers("9.1")
def test_the_arms_of_the_ablation(matched: MatchedMaps) -> None:
    positions = torch.arange(COUNT)
    made = {
        name: cut_and_name(batch(positions), matched, replace(PLAN, targets=name)).targets
        for name in ("localized_multi", "global_multi", "localized_single", "global_single")
    }
    assert torch.equal(made["localized_single"], torch.eye(3)[made["localized_multi"].argmax(1)])
    assert torch.equal(made["global_single"], torch.eye(3)[made["global_multi"].argmax(1)])
    three = made["global_multi"].view(-1, 3, 3)
    assert torch.allclose(three, three[:1].expand_as(three), atol=0.05), "the same for all crops of alike images"
    assert float(made["global_multi"].sort(1, descending=True).values[:, 1].min()) > 0.2
    assert len(made["localized_multi"].argmax(1).view(-1, 3)[:, 0].unique()) > 1, "crops of one kind of image differ"


def test_an_image_without_a_map_keeps_its_label(matched: MatchedMaps) -> None:
    rows = matched.rows.clone()
    rows[4] = -1
    made = cut_and_name(batch(torch.tensor([3, 4])), replace(matched, rows=rows), PLAN)
    assert made.targets[1].tolist() == [0.0, 1.0, 0.0]  # its label is 4 % 3
    assert 0 < float(made.targets[0].max()) < 1
    only = cut_and_name(batch(torch.tensor([4])), replace(matched, rows=rows), PLAN)
    assert torch.equal(only.targets[0], made.targets[1])


def test_the_loss_is_soft_cross_entropy(matched: MatchedMaps) -> None:
    given = batch(torch.arange(4))
    model = colour_annotator().module
    losses = on_label_maps(matched, PLAN)(model, given)
    made = cut_and_name(given, matched, PLAN)
    expected = -(made.targets * model(made.images).log_softmax(1)).sum(1)
    assert torch.allclose(losses, expected, atol=1e-6)
    with pytest.raises(InputError, match="one label each"):
        cut_and_name(replace(given, targets=torch.zeros(4, 3)), matched, PLAN)
