"""System 9: what the collages say about crops is true, and all stages run in the shapes of ImageNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.reproduction.label_maps import collage_materials
from snellen.reproduction.label_maps import scales as label_map_scales
from snellen.reproduction.label_maps.collage_materials import SIDE, labelled_scenes, thumbnails
from snellen.reproduction.label_maps.experiment import (
    ARMS,
    _matched_maps,
    _plan,
    divergence,
    label_maps,
    on_true_shares,
)
from snellen.reproduction.shared.collages import COLOURS, scene_collages, thumbnail_collages
from snellen.reproduction.shared.fashion_mnist import FASHION_MNIST_VARIABLE
from snellen.reproduction.shared.small_networks import narrow_network
from snellen.systems.label_maps.crop_training import cut_and_name
from snellen.systems.label_maps.localized_head import localized_head
from snellen.training.batches import Batch
from snellen.training.plan import TrainingPlan


def test_scenes_know_what_a_crop_shows() -> None:
    made = scene_collages(12, side=32, objects=3, seed=0, split="train")
    assert made.pixels.shape == (12, 32, 32, 3)
    assert float(made.seen.max()) <= 1
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(12, 1)
    shares, visible = made.shown(torch.arange(12), whole)
    assert torch.allclose(shares.sum(1), torch.ones(12), atol=1e-3)
    assert torch.equal(visible, made.sets())
    # The label is the class of the largest object, which is one of those seen.
    assert bool(made.sets()[torch.arange(12), torch.from_numpy(made.labels)].all())
    # Two halves together show what the whole shows.
    halves = [made.seen[:, :, :, :16].float().sum((2, 3)), made.seen[:, :, :, 16:].float().sum((2, 3))]
    left, _ = made.shown(torch.arange(12), torch.tensor([[0.0, 0.0, 0.5, 1.0]]).repeat(12, 1))
    present = halves[0].sum(1) > 0
    assert torch.allclose(left[present], (halves[0] / halves[0].sum(1, keepdim=True))[present], atol=1e-3)
    # Where a class is seen, the pixels have its colour: red is redder than the rest of the picture.
    red = made.seen[:, COLOURS.index("red")].float()
    rows = red.flatten(1).sum(1) > 5
    pixels = torch.from_numpy(made.pixels).float()
    redness = pixels[..., 0] - pixels[..., 1:].mean(3)
    inside = (redness * red).sum((1, 2))[rows] / red.sum((1, 2))[rows]
    assert bool((inside > redness.mean((1, 2))[rows] + 20).all())


def test_thumbnails_lie_where_they_are_said_to_lie() -> None:
    thumbnails = np.full((4, 8, 8), 255, dtype=np.uint8)
    classes = np.array([0, 1, 2, 1])
    made = thumbnail_collages(thumbnails, classes, ("a", "b", "c"), 10, side=40, objects=3, seed=1)
    again = thumbnail_collages(thumbnails, classes, ("a", "b", "c"), 10, side=40, objects=3, seed=1)
    assert np.array_equal(made.pixels, again.pixels)
    covered = made.seen.float().sum(1)
    bright = torch.from_numpy(made.pixels[..., 0]).float() > 200
    assert torch.equal(covered > 0.9, bright)
    assert float(covered.max()) <= 1.001
    # The largest is the label: it covers at least as much as any other class alone can.
    assert bool((made.seen[torch.arange(10), torch.from_numpy(made.labels)].float().sum((1, 2)) > 0.4**2 * 1600).all())


def test_the_stronger_annotator_learns_the_same_labels_from_other_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("LABELLED", 30), ("FEW", 20), ("MORE_TESTED", 10)):
        monkeypatch.setattr(collage_materials, name, count)
    made = labelled_scenes(4)
    parts = (made.annotated, made.trained, made.tested)
    assert [len(part.labels) for part in parts] == [30, 20, 10]
    assert len({picture.tobytes() for part in parts for picture in part.pixels}) == 60
    for part in parts:
        # Several objects, and the official label is mostly the class of the largest area.
        assert part.sets().sum(1).double().mean() > 1.5
        shares = part.seen.float().sum((2, 3))
        assert float((shares.argmax(1) == torch.from_numpy(part.labels)).double().mean()) > 0.6


def test_a_student_of_the_true_shares_learns_what_its_crops_show(tmp_path: Path) -> None:
    trained = scene_collages(300, side=SIDE, objects=3, seed=0, split="train")
    network = narrow_network(len(trained.class_names))
    preparation = Preprocessing(size=(SIDE, SIDE), resize="exact", resize_to=(SIDE, SIDE))
    annotator = Classifier(network, class_names=trained.class_names, preparation=preparation)
    matched = _matched_maps(annotator, trained, tmp_path / "maps")
    pixels = torch.from_numpy(trained.pixels).permute(0, 3, 1, 2) / 255
    rng = Randomness(0).for_examples([str(row) for row in range(300)])
    batch = Batch(pixels, torch.from_numpy(trained.labels), torch.ones(6), torch.arange(300), rng)
    said = torch.randn(300, len(trained.class_names))
    seen: list[Tensor] = []

    def model(images: Tensor) -> Tensor:
        seen.append(images)
        return said

    found = on_true_shares(matched, trained)(model, batch)
    crops = cut_and_name(batch, matched, _plan("localized_multi"))
    assert torch.equal(seen[0], crops.images), "the same crops as of ReLabel"
    shares, visible = trained.shown(batch.positions, crops.boxes)
    shown = visible.any(1)
    assert shown.any()
    loss = -(shares * said.log_softmax(1)).sum(1)
    assert torch.allclose(found[shown], loss[shown], atol=1e-5)
    named = nn.functional.cross_entropy(said, batch.targets, reduction="none")
    assert torch.allclose(found[~shown], named[~shown], atol=1e-5)
    assert not torch.allclose(found[shown], named[shown], atol=1e-3)
    assert not torch.allclose(found[~shown], loss[~shown], atol=1e-3), "no crop shows nothing, or a sliver of another"


def test_thumbnails_say_what_they_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FASHION_MNIST_VARIABLE, "nowhere")
    with pytest.raises(InputError, match="reads Fashion-MNIST from nowhere, which is not there"):
        thumbnails(0)


def test_divergence_is_zero_for_the_truth_and_finite_for_the_opposite() -> None:
    truth = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    same = divergence(truth, truth)
    assert float(same.abs().max()) < 0.02
    wrong = divergence(truth, truth.flip(1))
    assert torch.isfinite(wrong).all()
    assert bool((wrong > same + 0.5).all())


def test_the_student_can_be_an_annotator() -> None:
    network = narrow_network(4)
    head = localized_head(Classifier(network, class_names=list("abcd")), size=(40, 40))
    assert head.grid == (10, 10)
    assert ARMS[0] == "single_label"


@pytest.mark.covers("9.10")
@pytest.mark.covers("9.8")
def test_all_stages_run_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smoke experiment, with one epoch where it has two."""
    monkeypatch.setattr(label_map_scales, "SMOKE_PLAN", TrainingPlan(epochs=1, batch_size=2))
    figures = label_maps("smoke", 0, Silent())
    assert figures["annotator.images"] == 2 + 2
    assert figures["annotator.images_in_training"] == 0
    assert figures["bytes_ratio"] > 50
    assert all(np.isfinite(value) for value in figures.values())


def test_the_full_experiment_says_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(label_map_scales.IMAGENET_VARIABLE, raising=False)
    with pytest.raises(InputError, match="SNELLEN_IMAGENET to the folder that holds train and val"):
        label_maps("full", 0, Silent())
