"""The experiment's parts: one plan for both networks, an editor left out, and a control that no editor touched."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.reproduction.edited_regions import experiment, full, picture
from snellen.reproduction.edited_regions.experiment import edited_regions
from snellen.reproduction.edited_regions.materials import EDITORS, LEFT, SMOKE, Split, spliced
from snellen.systems.edited_regions.detecting import Regions
from snellen.systems.edited_regions.labels import write_labels
from snellen.training.plan import TrainingPlan


@pytest.fixture(scope="module")
def run():
    seen = {"segmenters": [], "rivals": [], "splits": None}
    before = {name: getattr(experiment, name) for name in ("trained_segmenter", "fit_whole_image", "made_splits")}

    def segmenter(examples, size, seed, progress):
        seen["segmenters"].append((examples, size.plan(seed)))
        return before["trained_segmenter"](examples, size, seed, progress)

    def rival(examples, *, plan, **options):
        seen["rivals"].append((examples, plan))
        return before["fit_whole_image"](examples, plan=plan, **options)

    def splits(*given):
        seen["splits"] = before["made_splits"](*given)
        return seen["splits"]

    for name, one in zip(before, (segmenter, rival, splits), strict=True):
        setattr(experiment, name, one)
    try:
        return edited_regions("smoke", 0, Silent()), seen
    finally:
        for name, one in before.items():
            setattr(experiment, name, one)


def test_a_smoke_run_has_every_figure_of_every_claim(run):
    figures, _ = run
    system = find_system("edited_regions")
    wanted = {gate.metric for gate in system.gates}
    for claim in system.claims:
        wanted |= {claim.metric, *claim.controls} | ({claim.baseline} if claim.baseline else set())
    assert wanted <= set(figures)
    assert figures["zero.iou"] == 0


@pytest.mark.covers("22.10")
def test_the_whole_image_network_sees_the_same_images_in_the_same_steps(run):
    _, seen = run
    assert len(seen["segmenters"]) == len(seen["rivals"]) == 2
    for (own, plan), (others, rival_plan) in zip(seen["segmenters"], seen["rivals"], strict=True):
        assert own is others
        assert plan == rival_plan


def test_the_second_training_never_sees_the_editor_that_is_left_out(run):
    _, seen = run
    made, splits = seen["splits"]
    label = next(number for number, name in made.editors.items() if name == LEFT)
    (everything, _), (known, _) = seen["segmenters"]
    assert bool((everything.labels == label).any())
    assert not bool((known.labels == label).any())
    turns = {one.id: {turn.editor for turn in one.turns} for one in made.images}
    assert all(LEFT not in turns[name] for name in known.ids), "not even under a later edit"
    assert all(turns[name] <= {LEFT} for name in splits["test"].only(LEFT).labelled.ids)


@pytest.mark.covers("22.4")
def test_no_base_is_on_two_sides(run):
    _, seen = run
    _, splits = seen["splits"]
    bases = [{one.base for one in split.records} for split in splits.values()]
    assert len(set.union(*bases)) == sum(map(len, bases))


def test_the_control_is_made_of_photographs_alone():
    images, masks = spliced(SMOKE, 0, 8)
    again, _ = spliced(SMOKE, 0, 8)
    assert torch.equal(images, again)
    assert images.shape == (8, 3, 64, 64)
    assert masks.flatten(1).any(1).all()
    assert len(EDITORS) == len(set(EDITORS))


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder in the form of the published data, with labels up to 8."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("validation", 3)):
        (tmp_path / split).mkdir()
        for at in range(count):
            size = (70 + 10 * at, 90)
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(tmp_path / split / f"{at:08d}.image.png")
            labels = np.zeros(size, np.uint8)
            labels[5:30, 5:40] = (0, 8, 3)[at]
            write_labels(tmp_path / split / f"{at:08d}.mask.png", labels, 8)
    monkeypatch.setenv(full.DATA, str(tmp_path))
    return tmp_path


def test_the_full_experiment_reads_the_published_form(published):
    plan = TrainingPlan(epochs=1, batch_size=2)
    figures = full.full(0, Silent(), architecture="small", plan=plan, tile=64)
    assert {"iou", "semantic_miou", "image.auroc", "jpeg70.iou", "scale075.iou"} <= set(figures)
    assert all(value is None or np.isfinite(value) for value in figures.values())


def test_tiles_are_parts_of_the_files_and_what_they_lack_is_not_judged(published):
    tiles = full.FileTiles.of(published / "train", 64)
    assert len(set(tiles.ids)) == len(tiles.ids)
    images, labels = tiles.read(torch.arange(len(tiles.ids)))
    for at, (image, mask, top, left) in enumerate(tiles.tiles):
        with Image.open(image) as opened, Image.open(mask) as known:
            whole, wanted = np.asarray(opened), np.asarray(known)
        part, kept = whole[top : top + 64, left : left + 64], wanted[top : top + 64, left : left + 64]
        assert (images[at].permute(1, 2, 0).numpy()[: part.shape[0], : part.shape[1]] == part).all()
        assert (labels[at].numpy()[: part.shape[0], : part.shape[1]] == kept).all()
        assert (labels[at].numpy()[part.shape[0] :] == 255).all()


def test_the_full_experiment_names_what_is_missing(published, monkeypatch):
    os.unlink(published / "train" / "00000000.mask.png")
    with pytest.raises(InputError, match=r"1 of them without \*\.mask\.png"):
        full.full(0, Silent(), architecture="small", plan=TrainingPlan(epochs=1), tile=64)
    monkeypatch.delenv(full.DATA)
    with pytest.raises(InputError, match="needs SNELLEN_DIFFSEG30K"):
        edited_regions("full", 0, Silent())


def test_the_picture_shows_every_turn(run):
    _, seen = run
    shown = picture.chosen(seen["splits"][1]["test"])
    assert isinstance(shown, Split)
    assert any(not one.turns for one in shown.records)
    found = [
        Regions(labels.numpy(), (labels > 0).float().numpy(), (labels > 0).float().numpy())
        for labels in shown.labelled.labels
    ]
    assert picture.grid(shown, found).size[0] > 4 * 64
    turns = next(one for one in shown.records if one.turns)
    assert turns.turns[0].editor in picture.line(turns)
