"""Made sets: turns, provenance, splits, the filter's log, and a call that was interrupted."""

import csv
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError, RunConflictError
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scene import Scene, SceneObject
from snellen.systems.edited_regions import making
from snellen.systems.edited_regions.labels import last_turns
from snellen.systems.edited_regions.made_set import read_made
from snellen.systems.edited_regions.making import Base, EditSettings, make_edits, splits_of
from snellen.systems.edited_regions.planning import Instruction, Region
from snellen.systems.edited_regions.scene_bases import scene_bases
from snellen.systems.edited_regions.scene_program import ScenePlanner
from snellen.systems.edited_regions.small_editors import hash_mask
from tests.systems.edited_regions.parts import SIZE, PaintingEditor, editors, made_set, network


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "my set"
    return made_set(folder, 30, versions=2), folder


def opened(folder, one):
    image = np.asarray(Image.open(folder / "images" / one.file))
    labels = np.asarray(Image.open(folder / "labels" / one.file))
    return image, labels


@pytest.mark.covers("22.2")
def test_every_image_has_one_record_of_its_base_and_turns(made):
    found, folder = made
    bases = {one.id: one for one in scene_bases(30, SIZE, generator=network("bilinear"), generated=0.25)}
    assert len({one.id for one in found.images}) == len(found.images) == len(list((folder / "images").iterdir()))
    for one in found.images:
        base = bases[one.base]
        assert one.base_kind == base.kind
        assert one.base_sha256 == hash_tensors({"image": base.image})
        for turn in one.turns:
            assert found.editors[turn.label] == turn.editor
            assert turn.prompt
            assert len(turn.mask_sha256) == 64
            assert turn.composited
            assert 0 < turn.area < 1
    assert Counter(one.base_kind for one in found.images).keys() == {"real", "generated"}
    assert {len(one.turns) for one in found.images} == {0, 1, 2, 3}
    assert read_made(folder) == found


@pytest.mark.covers("22.2")
def test_the_mask_hash_is_that_of_the_mask(tmp_path):
    seen = []

    class Recorded(PaintingEditor):
        def edit(self, images, masks, prompts, seeds):
            seen.extend(hash_mask(mask[0].bool()) for mask in masks)
            return super().edit(images, masks, prompts, seeds)

    found = made_set(tmp_path / "made", 10, given={"one": Recorded})
    assert {turn.mask_sha256 for one in found.images for turn in one.turns} <= set(seen)


@pytest.mark.covers("22.1")
def test_labels_name_the_editor_of_the_last_turn(made):
    found, folder = made
    for one in found.images:
        _, labels = opened(folder, one)
        assert set(np.unique(labels)) <= {0, *(turn.label for turn in one.turns)}
        if one.turns:
            assert (labels == one.turns[-1].label).mean() >= one.turns[-1].area - 1e-6


@pytest.mark.covers("22.4")
def test_versions_of_one_base_share_a_split(made):
    found, _ = made
    split = {}
    for one in found.images:
        assert split.setdefault(one.base, one.split) == one.split
    assert set(split.values()) == {"train", "val", "test"}
    assert max(Counter(one.base for one in found.images).values()) == 2


@pytest.mark.covers("22.5")
def test_every_split_has_images_that_nobody_edited(made):
    found, folder = made
    for split in ("train", "val", "test"):
        own = [one for one in found.images if one.split == split]
        clean = [one for one in own if not one.turns]
        assert clean
        assert len(clean) < len(own)
    base = {one.id: one for one in scene_bases(30, SIZE, generator=network("bilinear"), generated=0.25)}
    for one in found.images:
        if not one.turns:
            image, labels = opened(folder, one)
            assert (image == base[one.base].image.permute(1, 2, 0).numpy()).all()
            assert not labels.any()


def test_too_few_bases_are_refused():
    with pytest.raises(InputError, match="six different ones"):
        splits_of(["a", "b", "c", "d", "e"], EditSettings(), 0)
    with pytest.raises(InputError, match="5 of them different"):
        splits_of(["a", "a", "b", "c", "d", "e"], EditSettings(), 0)
    assert set(splits_of(list("abcdef"), EditSettings(), 0).values()) == {"train", "val", "test"}


@pytest.mark.covers("22.11")
def test_edits_of_all_types_are_made_and_their_areas_counted(made):
    found, _ = made
    turns = [turn for one in found.images for turn in one.turns]
    assert {turn.edit for turn in turns} == {"add", "remove", "change"}
    assert sum(found.areas.values()) == len(turns)


@pytest.mark.covers("22.12")
def test_the_acceptance_rate_follows_from_the_log(tmp_path):
    found = made_set(tmp_path / "made", settings=EditSettings(part=9, least_score=0.85))
    judged = [one for one in found.decisions if one.score is not None]
    assert 0 < found.acceptance < 1
    assert found.acceptance == pytest.approx(sum(one.accepted for one in judged) / len(judged))
    assert all(one.accepted == (one.score >= 0.85) for one in judged)
    kept = sum(len(one.turns) for one in found.images)
    assert kept == sum(one.accepted for one in judged)
    assert any(one.attempt == 1 for one in judged), "what is refused is tried once more"


def test_composites_leave_other_pixels_and_the_other_regime_does_not(tmp_path):
    for composited in (True, False):
        found = made_set(tmp_path / str(composited), 12, composited=composited, border=2)
        turns = [turn for one in found.images for turn in one.turns]
        assert all(turn.composited is composited for turn in turns)
        assert all((turn.changed_outside == 0) is composited for turn in turns)


class Nothing:
    """A planner that finds no region, or an empty one."""

    def __init__(self, empty):
        self.empty = empty

    def propose_regions(self, image, rng):
        return [Region("none", torch.zeros(image.shape[1:], dtype=torch.bool), ("remove",))] if self.empty else []

    def write_edit(self, image, region, edit, rng):
        return Instruction(edit, "x", region.mask, region)

    def score_edit(self, before, after, instruction, seed):
        return 1.0

    def accept(self, instruction):
        raise AssertionError("nothing was edited")


@pytest.mark.parametrize("empty", [True, False])
def test_a_turn_without_a_region_is_left_out_and_logged(tmp_path, empty):
    bases = [
        Base(f"b{at}", torch.zeros(3, 16, 16, dtype=torch.uint8), "real", lambda: Nothing(empty)) for at in range(6)
    ]
    found = make_edits(bases, {"one": PaintingEditor}, tmp_path / "made")
    assert not any(one.turns for one in found.images)
    assert found.decisions
    assert not any(one.accepted for one in found.decisions)
    assert found.acceptance is None


def test_an_interrupted_call_goes_on_and_gives_the_same_bytes(tmp_path, monkeypatch):
    log, again = [], []
    made_set(tmp_path / "whole", given=editors(log))
    calls = iter(range(100))
    before = making._Maker.made

    def killed(self, pieces):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return before(self, pieces)

    monkeypatch.setattr(making._Maker, "made", killed)
    with pytest.raises(KeyboardInterrupt):
        made_set(tmp_path / "broken", given=editors())
    assert not (tmp_path / "broken" / "edits.json").exists()
    monkeypatch.setattr(making._Maker, "made", before)
    made_set(tmp_path / "broken", given=editors(again))
    assert sum(again) < sum(log)
    files = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file())
    assert files == sorted(
        path.relative_to(tmp_path / "broken") for path in (tmp_path / "broken").rglob("*") if path.is_file()
    )
    assert all((tmp_path / "whole" / one).read_bytes() == (tmp_path / "broken" / one).read_bytes() for one in files)


def test_a_finished_folder_is_read_again_and_another_plan_refused(tmp_path):
    found, log = made_set(tmp_path / "made", 8), []
    assert made_set(tmp_path / "made", 8, given=editors(log)) == found
    assert log == []
    with pytest.raises(RunConflictError, match="differs in: bases"):
        made_set(tmp_path / "made", 8, seed=1)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").write_text("x")
    with pytest.raises(InputError, match="is not empty"):
        made_set(tmp_path / "else", 8)


def test_work_is_grouped_by_editor(tmp_path):
    loads, log = [], []
    given = {name: lambda name=name, load=load: (loads.append(name), load())[1] for name, load in editors(log).items()}
    made_set(tmp_path / "made", settings=EditSettings(part=100, turns=1, tries=1, least_score=0), given=given)
    assert loads == ["dark", "light", "dark"], "once to identify each, and the last one is kept"
    assert max(log) > 1


def test_an_editor_is_loaded_once_for_a_group_and_kept_for_its_next_one(tmp_path):
    loads = []
    given = {name: lambda name=name, load=load: (loads.append(name), load())[1] for name, load in editors().items()}
    found = made_set(
        tmp_path / "made", 12, settings=EditSettings(part=100, turns=2, tries=2, least_score=0.85), given=given
    )
    groups = {(one.turn, one.attempt, one.editor) for one in found.decisions if one.score is not None}
    assert len(groups) == 8
    assert len(loads) == 2 + 4, "of each try the editor in memory comes first"
    places = [(one.turn, one.attempt, one.editor) for one in found.decisions if one.score is not None]
    assert places == sorted(places), "the log does not depend on that"


def test_other_editors_planners_or_bases_are_another_set(tmp_path):
    made_set(tmp_path / "made", 8)
    with pytest.raises(RunConflictError, match="differs in: identities"):
        made_set(tmp_path / "made", 8, given={**editors(), "light": lambda: PaintingEditor(16 / 255)})
    bases = scene_bases(8, SIZE, generator=network("bilinear"), generated=0.25)
    settings = EditSettings(part=7, batch_size=4, least_score=0.3)
    others = [replace(bases[0], planner=bases[1].planner), *bases[1:]]
    with pytest.raises(RunConflictError, match=r"differs in: planners\)"):
        make_edits(others, editors(), tmp_path / "made", settings=settings)


def test_an_interrupted_call_does_not_resume_with_other_editors(tmp_path, monkeypatch):
    calls, before = iter(range(100)), making._Maker.made

    def killed(self, pieces):
        if next(calls) == 1:
            raise KeyboardInterrupt
        return before(self, pieces)

    monkeypatch.setattr(making._Maker, "made", killed)
    with pytest.raises(KeyboardInterrupt):
        made_set(tmp_path / "made", 20)
    monkeypatch.setattr(making._Maker, "made", before)
    with pytest.raises(RunConflictError, match="identities"):
        made_set(tmp_path / "made", 20, given={**editors(), "light": lambda: PaintingEditor(16 / 255)})


def test_what_nothing_identifies_is_compared_with_nothing(tmp_path):
    class Nameless(PaintingEditor):
        identity = None

    made_set(tmp_path / "made", 8, given={"one": Nameless})
    with pytest.raises(InputError, match=r"the editor 'one' has no method identity"):
        made_set(tmp_path / "made", 8, given={"one": Nameless})
    bases = scene_bases(8, SIZE, generator=network("bilinear"), generated=0.25)
    known = make_edits(bases, {"one": Nameless}, tmp_path / "known", identities={"one": "7"})
    assert make_edits(bases, {"one": Nameless}, tmp_path / "known", identities={"one": "7"}) == known
    with pytest.raises(RunConflictError, match="identities"):
        make_edits(bases, {"one": Nameless}, tmp_path / "known", identities={"one": "8"})
    with pytest.raises(InputError, match="identities name two; the editors are one"):
        make_edits(bases, {"one": Nameless}, tmp_path / "known", identities={"two": "8"})


def test_a_record_has_the_seed_that_the_editor_received(tmp_path):
    seen = {}

    class Recorded(PaintingEditor):
        def edit(self, images, masks, prompts, seeds):
            for mask, prompt, seed in zip(masks, prompts, seeds, strict=True):
                seen[hash_mask(mask[0].bool()), prompt, seed] = True
            return super().edit(images, masks, prompts, seeds)

    found = made_set(tmp_path / "made", 12, given={"one": Recorded})
    turns = [turn for one in found.images for turn in one.turns]
    assert len({turn.seed for turn in turns}) == len(turns) > 4
    assert all((turn.mask_sha256, turn.prompt, turn.seed) in seen for turn in turns)


def test_the_score_is_of_the_texture_that_the_seed_draws(tmp_path):
    """An editor that draws exactly what its prompt says has the score 1, textures too."""
    found = made_set(tmp_path / "made", 16, given={"one": lambda: PaintingEditor(0.0)}, border=0)
    scores = [turn.score for one in found.images for turn in one.turns]
    assert scores
    assert min(scores) > 0.98


def test_an_object_that_was_changed_lies_above_all_others():
    scene = Scene(
        objects=tuple(
            SceneObject(shape="circle", colour=colour, radius=0.3, x=x, y=0.0)
            for colour, x in (("red", -0.1), ("blue", 0.4))
        )
    )
    planner = ScenePlanner(scene, SIZE)
    image = torch.zeros(3, SIZE, SIZE)
    region = planner.propose_regions(image, Randomness(0))[0]
    instruction = planner.write_edit(image, region, "change", Randomness(0))
    planner.accept(instruction)
    assert planner.scene.objects[0].colour == "blue"
    assert planner.scene.objects[1].colour in instruction.prompt


def test_the_manifest_is_a_table_of_images(made):
    found, folder = made
    rows = list(csv.DictReader((folder / "manifest.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == [one.id for one in found.images]
    assert {row["label"] for row in rows} == {"edited", "untouched"}
    fitted = list(csv.DictReader((folder / "fitting.csv").read_text().splitlines()))
    assert fitted == [row for row in rows if row["split"] != "test"]
    assert all((folder / row["edits"]).is_file() and (folder / row["path"]).is_file() for row in rows)
    assert json.loads((folder / "edits.json").read_bytes())["acceptance"] == found.acceptance


@pytest.mark.covers("22.1")
def test_stored_labels_follow_from_the_masks_of_all_turns(tmp_path, monkeypatch):
    masks = {}
    before = making._provenance

    def kept(piece):
        masks[piece.id] = [mask.numpy() for mask in piece.masks]
        return before(piece)

    monkeypatch.setattr(making, "_provenance", kept)
    found = made_set(tmp_path / "made", 20)
    overlapping = 0
    for one in found.images:
        _, labels = opened(tmp_path / "made", one)
        last = last_turns(masks[one.id], labels.shape)
        assert (labels == np.array([0, *(turn.label for turn in one.turns)])[last]).all()
        overlapping += len(one.turns) > 1 and sum(int(mask.sum()) for mask in masks[one.id]) > (last > 0).sum()
    assert overlapping, "some turns edit what another one wrote"
