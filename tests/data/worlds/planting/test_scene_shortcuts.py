"""Shortcuts in scenes: rates, conflicts, what follows from the scene, and independence of company."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.factors import BACKGROUNDS, COLOURS
from snellen.data.worlds.optotypes.scene import Lettering, Scene, SceneObject
from snellen.data.worlds.optotypes.scene_set import scene_images
from snellen.data.worlds.planting.scene_shortcuts import (
    MOST_OBJECTS,
    BackgroundShortcut,
    LetteringShortcut,
    ObjectShortcut,
    SceneShortcut,
    correlate,
)
from snellen.data.worlds.planting.selections import MissingCombinations
from snellen.data.worlds.planting.trigger_planting import PlantTrigger
from snellen.data.worlds.planting.triggers import PatchTrigger
from snellen.data.worlds.planting.truth import planted_of
from tests.data.worlds.planting.labelled_sets import labelled_set, rows, shuffled

RNG, CLASSES = Randomness(1), ("circle", "square", "star")


def scene_set(count: int = 60, split: Split = "train", size: int = 24) -> ImageSet:
    scenes = [
        Scene(
            objects=(SceneObject(shape=CLASSES[row % 3], colour="blue", radius=0.4, x=0.3, y=0.3),),
            background="night",
            seed=row,
        )
        for row in range(count)
    ]
    ids = [f"{split}/{row:06d}" for row in range(count)]
    return scene_images(scenes, size=size, class_names=CLASSES, ids=ids, split=split)


def scenes(images: ImageSet) -> list[Scene]:
    return [Scene.from_json(str(text)) for text in images.column("attributes")]


IMAGES = scene_set()
SHORTCUTS: list[SceneShortcut] = [BackgroundShortcut(), ObjectShortcut(), LetteringShortcut()]


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.9, 1.0])
def test_strength_is_the_share_of_own_values_and_others_are_alike(strength: float) -> None:
    labels, values = np.arange(8000) % 4, ["grass", "sand", "brick", "water"]
    ids = [str(row) for row in range(8000)]
    found = correlate(labels, values, strength=strength, correlation="planted", ids=ids, rng=RNG)
    counts = np.zeros((4, 4))
    np.add.at(counts, (labels, found.values), 1)
    expected = 2000 * (np.eye(4) * strength + (1 - np.eye(4)) * (1 - strength) / 3)
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected * (1 - expected / 2000)) + 1e-9).all()
    assert found.aligned.tolist() == (found.values == labels).tolist()


def test_aligned_conflicting_and_neutral() -> None:
    labels, ids = np.arange(3000) % 3, [str(row) for row in range(3000)]
    aligned, conflicting, neutral = (
        correlate(labels, ["a", "b", "c"], strength=0.5, correlation=one, ids=ids, rng=RNG)
        for one in ("aligned", "conflicting", "neutral")
    )
    assert aligned.aligned.all()
    assert not conflicting.aligned.any()
    assert abs(neutral.aligned.mean() - 1 / 3) < 5 * np.sqrt(2 / 9 / 3000)


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=6), st.integers(0, 1000))
def test_classes_may_share_a_value(values: list[str], seed: int) -> None:
    labels, ids = np.arange(60) % len(values), [str(row) for row in range(60)]
    if len(set(values)) < 2:
        with pytest.raises(InputError, match="at least two different values"):
            correlate(labels, values, strength=1, correlation="planted", ids=ids, rng=Randomness(seed))
        return
    found = correlate(labels, values, strength=0.5, correlation="planted", ids=ids, rng=Randomness(seed))
    for label, value, aligned in zip(labels, found.values, found.aligned, strict=True):
        assert (values[value] == values[label]) == aligned


def test_a_row_aligned_at_one_strength_is_aligned_at_every_higher_one() -> None:
    labels, ids = np.arange(500) % 2, [str(row) for row in range(500)]
    weak, strong = (
        correlate(labels, ["a", "b"], strength=one, correlation="planted", ids=ids, rng=RNG).aligned
        for one in (0.6, 0.8)
    )
    assert not (weak & ~strong).any()
    assert strong.sum() > weak.sum()


def test_backgrounds_follow_the_class() -> None:
    planted = BackgroundShortcut(strength=0.8, backgrounds=("grass", "sand", "night")).plant(IMAGES, rng=RNG)
    own = dict(zip(CLASSES, ("grass", "sand", "night"), strict=True))
    said = planted_of(planted, "background_shortcut")
    told = zip(scenes(planted), scenes(IMAGES), planted.column("group"), said, strict=True)
    for scene, before, group, entry in told:
        aligned = scene.background == own[scene.objects[0].shape]
        assert scene == before.model_copy(update={"background": scene.background})
        assert group == ("aligned" if aligned else "conflicting")
        assert entry == {"value": scene.background, "aligned": aligned}
    assert 36 <= planted.column("group").count("aligned") <= 58
    assert planted.labels.tolist() == IMAGES.labels.tolist()


@pytest.mark.parametrize("shortcut", SHORTCUTS, ids=lambda one: one.name)
def test_all_that_is_reported_follows_from_the_scene(shortcut: SceneShortcut) -> None:
    planted = shortcut.plant(IMAGES, rng=RNG)
    drawn = scene_images(scenes(planted), size=24, class_names=CLASSES, ids=planted.ids, split="train")
    for column in ("attributes", "boxes", "caption", "label", "mask"):
        assert planted.column(column) == drawn.column(column)
    for row in (0, 17, 59):
        assert planted.read(row).tobytes() == drawn.read(row).tobytes()
        assert planted.read(row).tobytes() != IMAGES.read(row).tobytes()
        assert planted.read_mask(row).tobytes() == drawn.read_mask(row).tobytes()
        assert planted.content_hash(row) == drawn.content_hash(row)


@pytest.mark.parametrize("shortcut", SHORTCUTS, ids=lambda one: one.name)
def test_a_row_is_changed_in_any_company(shortcut: SceneShortcut) -> None:
    whole = rows(shortcut.plant(IMAGES, rng=RNG))
    assert rows(shortcut.plant(shuffled(IMAGES), rng=RNG)) == whole
    part = IMAGES.select([5, 3, 40])
    assert rows(shortcut.plant(part, rng=RNG)) == {one: whole[one] for one in part.ids}


def test_test_sets_show_the_correlation_that_they_are_reported() -> None:
    test = scene_set(split="test")
    with pytest.raises(InputError, match="holds test images only"):
        BackgroundShortcut().plant(test, rng=RNG)
    for correlation in ("aligned", "conflicting"):
        shown = BackgroundShortcut(correlation=correlation, touch_test=True).plant(test, rng=RNG)
        assert set(shown.column("group")) == {correlation}
        assert shown.split == "test"


def test_the_small_object_is_the_last_and_in_its_corner() -> None:
    planted = ObjectShortcut(strength=1, corner="bottom left", radius=0.2).plant(IMAGES, rng=RNG)
    for scene, label in zip(scenes(planted), planted.labels, strict=True):
        assert scene.objects[0].colour == "blue"
        assert scene.objects[1].colour == COLOURS[label]
        assert (scene.objects[1].x, scene.objects[1].y) == (-0.75, 0.75)
    for boxes in planted.column("boxes"):
        x0, y0, x1, y1 = boxes[1]
        assert 0 <= x0 < x1 <= 6
        assert 18 <= y0 < y1 <= 24
    full = Scene(objects=(SceneObject(shape="star", colour="red"),) * MOST_OBJECTS)
    assert Scene.model_fields["objects"].metadata[0].max_length == MOST_OBJECTS
    with pytest.raises(InputError, match="at most 8 objects"):
        ObjectShortcut().changed(full, "red")


def test_letters_tell_classes_apart() -> None:
    shortcut = LetteringShortcut()
    assert shortcut.values_by_class(["star", "ring"]) == ("S", "R")
    assert shortcut.values_by_class(["no entry", "no parking"]) == ("NOE", "NOP")
    assert LetteringShortcut(texts=("X", "Y")).values_by_class(["star", "star"]) == ("X", "Y")
    for names in (["star", "Star"], ["ab", "abc"][:1] * 2, ["☂", "☀"]):
        with pytest.raises(InputError, match="do not distinguish the classes"):
            shortcut.values_by_class(names)
    before = Scene(lettering=Lettering(text="OLD"))
    written = shortcut.changed(before, "S").lettering
    assert written == Lettering(text="S", y=1 - 0.3 / 2 - 0.05, height=0.3)


def test_two_shortcuts_join_their_groups() -> None:
    both = ObjectShortcut(strength=0.5).plant(BackgroundShortcut(strength=0.5).plant(IMAGES, rng=RNG), rng=RNG)
    sides = ("aligned", "conflicting")
    assert set(both.column("group")) == {f"{one} / {other}" for one in sides for other in sides}
    assert all(planted_of(both, "background_shortcut"))
    assert all(planted_of(both, "object_shortcut"))


def test_shortcuts_before_selections_and_triggers() -> None:
    planted = BackgroundShortcut(strength=1).plant(IMAGES, rng=RNG)
    rest = MissingCombinations(combinations=({"objects.0.shape": "star"},)).plant(planted, rng=RNG)
    assert {scene.background for scene in scenes(rest)} == set(BACKGROUNDS[:2])
    again = ObjectShortcut().plant(rest, rng=RNG)
    stamped = PlantTrigger(trigger=PatchTrigger(), rate=0.2).plant(again, rng=RNG)
    assert sum(entry is not None for entry in planted_of(stamped, "trigger")) == 8
    assert stamped.read_mask(0).tobytes() == again.read_mask(0).tobytes()
    with pytest.raises(InputError, match=r"no set of scenes \(its pixels come from ChangedSource\)"):
        BackgroundShortcut(key="late").plant(stamped, rng=RNG)
    with pytest.raises(InputError, match=r"no set of scenes \(its pixels come from ArraySource\)"):
        BackgroundShortcut().plant(labelled_set(4), rng=RNG)


def test_refused() -> None:
    with pytest.raises(InputError, match="backgrounds: expected one for each of 3 classes, got 2"):
        BackgroundShortcut(backgrounds=("grass", "sand")).plant(IMAGES, rng=RNG)
    with pytest.raises(InputError, match="at least two different values; got grass"):
        BackgroundShortcut(backgrounds=("grass",) * 3).plant(IMAGES, rng=RNG)
    for text in ("stop", "", "A" * 13):
        with pytest.raises(InputError, match=r"texts\.1"):
            LetteringShortcut(texts=("GO", text, "END"))
