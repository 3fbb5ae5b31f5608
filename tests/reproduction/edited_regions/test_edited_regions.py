"""The experiment's parts: one plan for both networks, an editor left out, and a control that no editor touched."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.reproduction.edited_regions import experiment, full, materials, picture, rivals
from snellen.reproduction.edited_regions.experiment import edited_regions
from snellen.reproduction.edited_regions.materials import (
    EDITORS,
    LEFT,
    SIDE,
    SMOKE,
    Split,
    editor_figures,
    spliced,
    trained_editors,
)
from snellen.systems.edited_regions.detecting import Regions
from snellen.systems.edited_regions.distortions import residual_levels
from snellen.systems.edited_regions.labels import write_labels
from snellen.training.plan import TrainingPlan


@pytest.fixture(scope="module")
def run():
    seen = {"segmenters": [], "rivals": [], "splits": None}
    places = {"trained_segmenter": experiment, "fit_whole_image": rivals, "made_splits": experiment}
    before = {name: getattr(place, name) for name, place in places.items()}

    def segmenter(examples, size, seed, progress):
        seen["segmenters"].append((examples, size.plan(seed)))
        return before["trained_segmenter"](examples, size, seed, progress)

    def rival(examples, *, plan, **options):
        seen["rivals"].append((examples, plan, options["pooling"]))
        return before["fit_whole_image"](examples, plan=plan, **options)

    def splits(*given):
        seen["splits"] = before["made_splits"](*given)
        return seen["splits"]

    for name, one in zip(before, (segmenter, rival, splits), strict=True):
        setattr(places[name], name, one)
    try:
        return edited_regions("smoke", 0, Silent()), seen
    finally:
        for name, one in before.items():
            setattr(places[name], name, one)


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
    assert len(seen["segmenters"]) == 2
    tried, judged = seen["rivals"][:-2], seen["rivals"][-2:]
    (everything, _), _ = seen["segmenters"]
    for (own, plan), (others, rival_plan, _) in zip(seen["segmenters"], judged, strict=True):
        assert own is others
        assert plan == rival_plan.model_copy(update={"learning_rate": plan.learning_rate})
    assert len({(plan.learning_rate, pooling) for _, plan, pooling in judged}) == 1
    assert len(tried) == len(rivals.LEARNING_RATES) + len(rivals.POOLINGS) - 1
    assert all(own is everything for own, _, _ in tried)
    assert {plan.learning_rate for _, plan, _ in tried} == set(rivals.LEARNING_RATES)
    assert {pooling for _, _, pooling in tried} == set(rivals.POOLINGS)


def test_validation_images_choose_the_rate_and_the_pooling_of_the_rival(run, monkeypatch):
    train, val = (run[1]["splits"][1][one].labelled for one in ("train", "val"))
    areas = {(1e-3, "both"): 0.5, (4e-3, "both"): 0.6, (1.2e-2, "both"): 0.7, (1.2e-2, "mean"): 0.8}
    monkeypatch.setattr(rivals, "fit_whole_image", lambda given, *, plan, pooling, **_: (plan.learning_rate, pooling))
    monkeypatch.setattr(rivals, "edited_scores", lambda network, images: torch.tensor(areas[network]))

    def area(examples, score):
        assert examples is val
        return float(score)

    monkeypatch.setattr(rivals, "image_auroc", area)

    def chosen():
        return rivals.chosen_setting(train, val, SMOKE, 0, Silent())

    assert chosen() == rivals.Setting(1.2e-2, "mean")
    areas[1.2e-2, "mean"] = 0.1
    assert chosen() == rivals.Setting(1.2e-2, "both")
    areas[1.2e-2, "both"], areas[4e-3, "mean"] = 0.2, 0.3
    assert chosen() == rivals.Setting(4e-3, "both")


def test_editors_learn_from_noise_that_no_base_image_has(monkeypatch):
    seen = []
    monkeypatch.setattr(materials, "fit_editor", lambda name, images, **_: seen.append(images))
    before = materials.photographs
    seeds = []
    monkeypatch.setattr(
        materials, "photographs", lambda scenes, side, *, seed: (seeds.append(seed), before(scenes, side, seed=seed))[1]
    )
    trained_editors(SMOKE, 5, Silent())
    assert seen
    assert seeds
    assert 5 not in seeds, "the seed of the base images' camera"
    scenes = materials.drawn_scenes(SMOKE.editor_images, seed=1)
    first, second = (before(scenes, SIDE, seed=one) for one in (5, seeds[0]))
    assert not torch.equal(first, second)


def test_the_gate_of_editors_can_fail():
    networks = trained_editors(SMOKE, 0, Silent())
    found = editor_figures(networks, 0)
    assert found["editors.error"] > 0.08, "after a single pass, editors write no photographs"
    same = dict.fromkeys(networks, networks["nearest"])
    assert editor_figures(same, 0)["editors.difference"] == 0
    assert found["editors.difference"] > 0


def test_chance_is_over_the_pixels_that_are_edited_and_found():
    matrix = np.array([[90, 0, 0], [50, 4, 4], [0, 1, 1]])
    assert experiment._largest_share(matrix) == pytest.approx(8 / 10), "the 50 that were missed do not count"
    assert experiment._largest_share(np.zeros((3, 3), dtype=np.int64)) is None


def test_claims_compare_what_they_state():
    claims = {one.id: one for one in find_system("edited_regions").claims}
    assert (claims["22.c"].metric, claims["22.c"].baseline) == ("iou", "editor_miou")
    assert {gate.id for gate in find_system("edited_regions").gates} == {"edited", "different", "kept", "found", "left"}


def test_recall_is_by_the_area_of_images_of_one_turn(run):
    _, seen = run
    test = seen["splits"][1]["test"]
    everything = [
        Regions(np.ones((64, 64), np.uint8), np.ones((64, 64), np.float32), np.ones((64, 64), np.float32))
    ] * len(test.records)
    found = experiment._by_area(everything, test)
    areas = [one.turns[0].area for one in test.records if len(one.turns) == 1]
    assert bool(areas) == bool(found)
    assert set(found.values()) <= {1.0}
    assert all(name.startswith("recall.") for name in found)


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
    images, masks = spliced(0, 8)
    again, _ = spliced(0, 8)
    assert torch.equal(images, again)
    assert images.shape == (8, 3, 64, 64)
    assert masks.flatten(1).any(1).all()
    assert len(EDITORS) == len(set(EDITORS))


def test_the_other_control_is_the_same_photograph_only_blurred():
    images, masks = spliced(0, 8, blurred=True)
    other, same = spliced(0, 8)
    assert torch.equal(masks, same)
    for image, one, mask in zip(images, other, masks, strict=True):
        assert torch.equal(image[:, ~mask], one[:, ~mask])
        smooth, sharp = (residual_levels(given)[mask.numpy()].mean() for given in (image, one))
        assert smooth < 0.8 * sharp


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
