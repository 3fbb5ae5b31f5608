"""Poisoned sets: exact counts, pixels and labels together, truth, and what stays untouched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.label_noise import RandomLabelNoise
from snellen.data.worlds.planting.trigger_planting import PlantTrigger
from snellen.data.worlds.planting.triggers import BlendTrigger, PatchTrigger
from snellen.data.worlds.planting.truth import planted_of, true_labels
from tests.data.worlds.planting.labelled_sets import labelled_set, rows, shuffled

IMAGES, RNG = labelled_set(200), Randomness(2)
PATCH = PlantTrigger(trigger=PatchTrigger(size=0.25), target_class=3, rate=0.1)


def pixels(images: ImageSet) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.array(images.read(index)) for index in range(len(images))])).permute(
        0, 3, 1, 2
    )


def test_exact_count_of_other_classes_with_pixels_and_labels_together() -> None:
    planted = PATCH.plant(IMAGES, rng=RNG)
    said = planted_of(planted, "trigger")
    hit = np.array([entry is not None for entry in said])
    assert hit.sum() == 20
    assert (IMAGES.labels[hit] != 3).all()
    assert (planted.labels[hit] == 3).all()
    assert (planted.labels[~hit] == IMAGES.labels[~hit]).all()
    assert true_labels(planted).tolist() == IMAGES.labels.tolist()
    assert [entry for entry in said if entry] == [{"trigger": "patch", "target_class": 3, "relabelled": True}] * 20
    expected = pixels(IMAGES)
    expected[hit] = PATCH.trigger.stamp(expected[hit]).images
    assert torch.equal(pixels(planted), expected)
    hashes = [planted.content_hash(index) != IMAGES.content_hash(index) for index in range(200)]
    assert hashes == hit.tolist()


def test_the_choice_ignores_order_and_grows_with_the_rate() -> None:
    assert rows(PATCH.plant(shuffled(IMAGES), rng=RNG)) == rows(PATCH.plant(IMAGES, rng=RNG))
    more = PATCH.model_copy(update={"rate": 0.2}).plant(IMAGES, rng=RNG)
    few, many = (
        [entry is not None for entry in planted_of(one, "trigger")] for one in (PATCH.plant(IMAGES, rng=RNG), more)
    )
    assert sum(many) == 40
    assert all(b for a, b in zip(few, many, strict=True) if a)


def test_selections_of_a_planted_set_keep_their_pixels() -> None:
    planted = PATCH.plant(IMAGES, rng=RNG)
    part = planted.select([150, 3, 77])
    whole = rows(planted)
    assert rows(part) == {one: whole[one] for one in part.ids}


def test_clean_labels() -> None:
    planted = PATCH.model_copy(update={"clean_label": True}).plant(IMAGES, rng=RNG)
    hit = np.array([entry is not None for entry in planted_of(planted, "trigger")])
    assert hit.sum() == 20
    assert (IMAGES.labels[hit] == 3).all()
    assert planted.labels.tolist() == IMAGES.labels.tolist()
    assert not any(entry["relabelled"] for entry in planted_of(planted, "trigger") if entry)


def test_stamped_is_every_image_under_its_own_label() -> None:
    test = labelled_set(30, split="test", seed=9)
    stamped = PATCH.stamped(test, rng=RNG)
    assert stamped.labels.tolist() == test.labels.tolist()
    assert torch.equal(pixels(stamped), PATCH.trigger.stamp(pixels(test)).images)
    assert all(planted_of(stamped, "trigger"))
    assert stamped.split == "test"
    assert PATCH.stamped(test.unlabelled(), rng=RNG).hidden


def test_a_moving_patch_is_at_one_place_for_an_image() -> None:
    defect = PlantTrigger(trigger=PatchTrigger(place="anywhere", size=0.25), rate=0.5)
    planted = defect.plant(IMAGES, rng=RNG)
    for index, entry in enumerate(planted_of(planted, "trigger")[:40]):
        differs = (np.array(planted.read(index)) != np.array(IMAGES.read(index))).any(-1)
        region = defect.region(IMAGES, index, rng=RNG)
        assert not (differs & ~region).any()
        assert bool(differs.any()) == (entry is not None)
    assert (
        planted.read(5).tobytes()
        == defect.plant(shuffled(IMAGES), rng=RNG).select([shuffled(IMAGES).ids.index(IMAGES.ids[5])]).read(0).tobytes()
    )


def test_hashes_cover_trigger_and_chance_where_there_is_any() -> None:
    def hashes(defect: PlantTrigger, seed: int = 0) -> list[str]:
        stamped = defect.stamped(IMAGES, rng=Randomness(seed))
        return [stamped.content_hash(index) for index in range(3)]

    fixed, moving = (PlantTrigger(trigger=PatchTrigger(place=place)) for place in ("top left", "anywhere"))
    assert hashes(fixed) == hashes(fixed, seed=1)
    assert hashes(moving) != hashes(moving, seed=1)
    assert hashes(fixed) != hashes(PlantTrigger(trigger=PatchTrigger(place="top left", opacity=0.9)))


def test_captions_change_with_labels() -> None:
    table = IMAGES.table.append_column("caption", pa.array(["mine"] * 199 + [None]))
    planted = PATCH.plant(replace(IMAGES, table=table), rng=RNG)
    for said, caption in zip(planted_of(planted, "trigger")[:199], planted.column("caption")[:199], strict=True):
        assert caption == ("mine" if said is None else "A photo of a class 3")
    assert planted.column("caption")[199] is None


def test_two_triggers_and_label_noise_compose() -> None:
    noisy = RandomLabelNoise(rate=0.3).plant(IMAGES, rng=RNG)
    first = PATCH.plant(noisy, rng=RNG)
    both = PlantTrigger(trigger=BlendTrigger(), target_class=0, rate=0.3, key="blended").plant(first, rng=RNG)
    assert true_labels(both).tolist() == IMAGES.labels.tolist()
    keys = [planted_of(both, key) for key in ("random_label_noise", "trigger", "blended")]
    assert [sum(entry is not None for entry in key) for key in keys][1:] == [20, 60]
    overlap = [index for index, (one, other) in enumerate(zip(keys[1], keys[2], strict=True)) if one and other]
    assert overlap
    before = pixels(IMAGES.select(overlap))
    expected = BlendTrigger().stamp(PATCH.trigger.stamp(before).images).images
    assert torch.equal(pixels(both.select(overlap)), expected)
    with pytest.raises(InputError, match="'trigger' is planted already"):
        PATCH.stamped(first, rng=RNG)


def test_rates_count_images_in_reach() -> None:
    splits = (["train"] * 3 + ["test"]) * 50
    table = IMAGES.table.set_column(IMAGES.table.column_names.index("split"), "split", [splits])
    planted = PATCH.plant(replace(IMAGES, table=table, split=None), rng=RNG)
    hit = [split for split, entry in zip(splits, planted_of(planted, "trigger"), strict=True) if entry]
    assert hit == ["train"] * 15


def test_parameters_survive_json() -> None:
    again = PlantTrigger.model_validate_json(PATCH.model_dump_json())
    assert again == PATCH
    assert isinstance(PlantTrigger.model_validate({"trigger": {"kind": "warp", "grid": 6}}).trigger.grid, int)


def test_refused() -> None:
    with pytest.raises(InputError, match="target_class 5 is out of range for 5 classes"):
        PlantTrigger(target_class=5).plant(IMAGES, rng=RNG)
    with pytest.raises(InputError, match=r"rate 0.9 of 200 images is 180, but only 160 images are of another class"):
        PlantTrigger(rate=0.9).plant(IMAGES, rng=RNG)
    with pytest.raises(InputError, match=r"rate 0.5 .* only 40 images are of the target"):
        PlantTrigger(rate=0.5, clean_label=True).plant(IMAGES, rng=RNG)
    with pytest.raises(InputError, match="holds test images only"):
        PATCH.plant(labelled_set(10, split="test"), rng=RNG)
