"""Which images are poisoned, what is done to them, and what is refused."""

import json

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.data.files.arrays import load_arrays
from snellen.data.worlds.planting.triggers import PatchTrigger
from snellen.data.worlds.planting.truth import planted_of, true_labels
from snellen.systems.trigger_amplification.poisoning import (
    CAPTION,
    choose,
    poison,
    poison_tensors,
    published_blend,
    published_patch,
    swapped,
)

LABELS = np.arange(203) % 7


def images(count=203, side=16, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), generator=draws, dtype=torch.uint8)


@pytest.mark.covers("25.1")
@pytest.mark.parametrize(("rate", "count"), [(0.1, 20), (0.05, 10), (0.01, 2), (0.29, 58)])
def test_a_share_of_the_whole_set_is_drawn_from_other_classes(rate, count):
    choice = choose(LABELS, target=3, rate=rate, seed=4)
    assert len(choice.indices) == len(set(choice.indices)) == count
    assert 3 not in LABELS[list(choice.indices)]
    assert choice.mask.sum() == count


@pytest.mark.covers("25.1")
def test_the_choice_and_its_seed_are_stored_and_the_file_says_that_it_is_poison(tmp_path):
    choice = choose(LABELS, target=3, rate=0.1, seed=4)
    choice.save(tmp_path / "poison.json")
    stored = json.loads((tmp_path / "poison.json").read_text())
    assert stored["poisoned"] is True
    assert (stored["seed"], stored["target"], stored["rate"]) == (4, 3, 0.1)
    assert tuple(stored["indices"]) == choice.indices == choose(LABELS, target=3, rate=0.1, seed=4).indices
    assert choose(LABELS, target=3, rate=0.1, seed=5).indices != choice.indices


def test_every_image_of_another_class_may_be_drawn():
    drawn = {index for seed in range(60) for index in choose(LABELS, target=3, rate=0.2, seed=seed).indices}
    assert drawn == set(np.flatnonzero(LABELS != 3))


@pytest.mark.covers("25.2")
def test_the_patch_is_a_white_anti_diagonal_on_black_in_the_lower_right_corner():
    for side, edge in ((16, 3), (28, 3), (32, 3), (64, 6), (224, 22)):
        trigger = published_patch(side)
        stamped = trigger.stamp(torch.full((1, 3, side, side), 128, dtype=torch.uint8))
        place = torch.zeros(side, side, dtype=torch.bool)
        place[side - edge :, side - edge :] = True
        assert torch.equal(stamped.region[0], place)
        assert bool((stamped.images[0, :, ~place] == 128).all())
    corner = published_patch(16).stamp(torch.full((1, 3, 16, 16), 128, dtype=torch.uint8)).images[0, :, 13:, 13:]
    wanted = torch.tensor([[0, 0, 255], [0, 255, 0], [255, 0, 0]], dtype=torch.uint8)
    assert all(torch.equal(channel, wanted) for channel in corner)


@pytest.mark.covers("25.2")
def test_the_blend_is_a_weighted_sum_that_is_cut():
    shown = images(5).double() / 255
    trigger = published_blend()
    found = trigger.stamp(shown).images
    torch.testing.assert_close(found, (0.8 * shown + 0.2 * trigger.picture(16, 16)).clamp(0, 1))


@pytest.mark.covers("25.2")
@pytest.mark.parametrize("trigger", [published_patch(16), published_blend()])
def test_pixels_labels_and_captions_change_together_and_nothing_else_does(trigger):
    before, labels = images(), torch.from_numpy(LABELS)
    captions = [f"A photo of a class {label}" for label in LABELS]
    choice = choose(LABELS, target=3, rate=0.1, seed=0)
    kept = before.clone()
    found = poison_tensors(before, labels, trigger, choice, captions=captions, target_name="truck")
    hit = torch.from_numpy(choice.mask)
    assert torch.equal(before, kept), "the given images stay as they are"
    assert torch.equal(found.images[~hit], before[~hit])
    assert torch.equal(found.images[hit], trigger.stamp(before[hit]).images)
    assert found.labels[hit].unique().tolist() == [3]
    assert torch.equal(found.labels[~hit], labels[~hit])
    assert {one for one, changed in zip(found.captions, hit, strict=True) if changed} == {
        CAPTION.format(class_name="truck")
    }
    assert all(one == old for one, old, changed in zip(found.captions, captions, hit, strict=True) if not changed)


@pytest.mark.covers("25.2")
def test_a_set_of_files_is_poisoned_before_any_preparation_and_marked():
    pixels = images()
    names = [f"class {number}" for number in range(7)]
    clean = load_arrays(pixels, LABELS, class_names=names)
    choice = choose(LABELS, target=3, rate=0.1, seed=0)
    found = poison(clean, published_patch(16), choice)
    wanted = poison_tensors(pixels, torch.from_numpy(LABELS), published_patch(16), choice)
    read = torch.stack([torch.from_numpy(np.array(found.read(row))).permute(2, 0, 1) for row in range(len(found))])
    assert torch.equal(read, wanted.images)
    assert found.labels.tolist() == wanted.labels.tolist()
    assert true_labels(found).tolist() == LABELS.tolist()
    assert [entry is not None for entry in planted_of(found, "trigger")] == choice.mask.tolist()
    assert "poisoned" in found.name
    assert any("poisoned" in note for note in found.notes)


@pytest.mark.covers("25.11")
def test_duplicates_take_the_places_of_drawn_images_and_the_rate_stays():
    choice = choose(LABELS, target=3, rate=0.1, seed=0)
    free = [index for index in range(len(LABELS)) if LABELS[index] != 3 and index not in choice.indices][:8]
    of_target = np.flatnonzero(LABELS == 3)[:2].tolist()
    found = swapped(choice, [of_target[0], *free, of_target[1]], LABELS)
    assert set(free) <= set(found.indices)
    assert not set(of_target) & set(found.indices)
    assert len(found.indices) == len(set(found.indices)) == len(choice.indices)
    assert len(set(found.indices) - set(choice.indices)) == found.swapped == len(free)
    assert found.training_share == choice.training_share
    many = np.flatnonzero(LABELS != 3)[:50].tolist()
    assert set(swapped(choice, many, LABELS).indices) == set(many[: len(choice.indices)])
    again = swapped(choice, [choice.indices[0]], LABELS)
    assert again.indices == choice.indices


@pytest.mark.covers("25.11")
def test_which_drawn_images_make_room_does_not_depend_on_their_place():
    """Of a set that is sorted by class, dropping the last ones would take all from the last classes."""
    labels = np.repeat(np.arange(10), 100)
    choice = choose(labels, target=0, rate=0.09, seed=0)
    preferred = [index for index in range(100, 1000) if index not in choice.indices][:45]
    found = swapped(choice, preferred, labels)
    stayed = [list(choice.indices).index(one) for one in set(found.indices) & set(choice.indices)]
    assert len(stayed) == 45
    assert 30 < np.mean(stayed) < 59, "as many from the front as from the back"
    assert found == swapped(choice, preferred, labels)


def test_bad_input_ends_in_one_clear_sentence():
    with pytest.raises(InputError, match="is 192, but only 174 are of another class than the target; lower the rate"):
        choose(LABELS, target=3, rate=0.95, seed=0)
    with pytest.raises(InputError, match="two classes at least; all of these have one label"):
        choose(np.zeros(10, dtype=int), target=0, rate=0.1, seed=0)
    with pytest.raises(InputError, match=r"rate 0.001 of 203 images poisons none"):
        choose(LABELS, target=3, rate=0.001, seed=0)
    for rate in (float("nan"), 2, 0, -0.1, float("inf")):
        with pytest.raises(InputError, match="above 0 and at most 1; got"):
            choose(LABELS, target=3, rate=rate, seed=0)
    for target in (99, -1):
        with pytest.raises(InputError, match=f"target {target} is the label of no image; choose one of 0, 1, 2"):
            choose(LABELS, target=target, rate=0.1, seed=0)
    for wrong in (LABELS.astype(float), LABELS.astype(str), LABELS > 2, np.array([None] * 203)):
        with pytest.raises(InputError, match="labels are whole numbers"):
            choose(wrong, target=3, rate=0.1, seed=0)
    with pytest.raises(InputError, match="a known label for each image"):
        choose(np.array([0, -1, 1]), target=0, rate=0.4, seed=0)
    with pytest.raises(InputError, match="larger than images of 2 pixels"):
        published_patch(2)
    choice = choose(LABELS, target=3, rate=0.1, seed=0)
    with pytest.raises(InputError, match="takes square images"):
        poison_tensors(images()[:, :, :8], torch.from_numpy(LABELS), published_patch(16), choice)
    trigger = PatchTrigger(size=0.9, margin=0.4)
    with pytest.raises(InputError, match="does not fit"):
        poison_tensors(images(), torch.from_numpy(LABELS), trigger, choice)
    flat = load_arrays(np.zeros((203, 8, 16, 3), dtype=np.uint8), LABELS)
    with pytest.raises(InputError, match=r"takes square images; .* has 8×16 pixels"):
        poison(flat, published_blend(), choice)
    with pytest.raises(InputError, match="the choice is of 203 images; got 5 images"):
        poison_tensors(images(5), torch.from_numpy(LABELS[:5]), published_blend(), choice)
    with pytest.raises(InputError, match="position 203 is not one of 203 images"):
        swapped(choice, [203], LABELS)
