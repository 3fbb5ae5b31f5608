"""Matching classes of an image set to those of a classifier."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from snellen.core.errors import InputError, LabelsHiddenError, MissingExtraError
from snellen.core.images import ImageSet
from snellen.data.files import labels as labels_module
from snellen.data.files.arrays import load_arrays
from snellen.data.files.labels import align_labels


def named(names: list[str], labels: list[int] | None = None) -> ImageSet:
    chosen = list(range(len(names))) if labels is None else labels
    return load_arrays(np.zeros((len(chosen), 4, 4), np.uint8), chosen, class_names=names, name="mine")


def test_equal_lists_change_nothing() -> None:
    images = named(["a", "b"])
    assert align_labels(images, ["a", "b"]) is images


def test_exact_names_in_another_order_and_a_larger_list() -> None:
    images = align_labels(named(["a", "b", "c"], [0, 1, 2, -1, 0]), ["x", "c", "a", "b"])
    assert images.labels.tolist() == [2, 3, 1, -1, 2]
    assert images.class_names == ("x", "c", "a", "b")


def test_spelling_does_not_matter() -> None:
    images = align_labels(
        named(["Egyptian_cat", "T-SHIRT/top", "  ankle   boot", "straße"]),
        ["ankle-boot", "t shirt/top", "egyptian cat", "STRASSE"],
    )
    assert images.labels.tolist() == [2, 1, 0, 3]


def test_exact_spelling_wins_over_a_normalised_one() -> None:
    assert align_labels(named(["Cardigan"]), ["cardigan", "Cardigan"]).labels.tolist() == [1]
    assert align_labels(named(["crane"]), ["crane, bird", "crane"]).labels.tolist() == [1]


def test_synonyms_on_either_side() -> None:
    target = ["tench, Tinca tinca", "tabby, tabby cat", "Egyptian cat"]
    assert align_labels(
        named(["tabby", "Tinca_tinca", "cat of the pharaohs, egyptian cat"]), target
    ).labels.tolist() == [1, 0, 2]


def test_parts_of_words_are_no_match() -> None:
    with pytest.raises(InputError, match="'cat'"):
        align_labels(named(["cat"]), ["tabby cat", "caterpillar"])


def test_ambiguous_names_are_an_error() -> None:
    for target in (["crane", "x", "crane"], ["crane, bird", "crane, machine"], ["crane-", "crane "]):
        with pytest.raises(InputError, match=r"class 'crane' of mine fits more than one class of the classifier: 0 "):
            align_labels(named(["crane"]), target)


def test_unmatched_names_are_reported_with_the_nearest() -> None:
    names = ["tabby", *(f"unicorn {number}" for number in range(7))]
    with pytest.raises(InputError) as caught:
        align_labels(named(names), ["tabby", "unicron 3", "dog"])
    text = str(caught.value)
    assert text.startswith("7 of 8 classes of mine are none of the classifier's 3 classes: 'unicorn 0' (nearest:")
    assert "'unicorn 4'" in text
    assert "'unicorn 5'" not in text
    assert "and 2 more" in text
    assert "nearest: 'unicron 3'" in text


def test_near_names_are_sought_for_the_classes_that_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    sought, nearest = [], labels_module._Names.nearest
    monkeypatch.setattr(labels_module._Names, "nearest", lambda self, name: sought.append(name) or nearest(self, name))
    names = [f"other {number}" for number in range(40)]
    images = load_arrays(np.zeros((40, 8, 8, 3), np.uint8), list(range(40)), class_names=names)
    with pytest.raises(InputError, match=r"'other 4' .* and 35 more"):
        align_labels(images, ["cat", "dog"])
    assert len(sought) == 5


def test_classes_without_images_need_no_counterpart() -> None:
    assert align_labels(named(["a", "unicorn", "b"], [2, 0]), ["b", "a"]).labels.tolist() == [0, 1]


def test_numbered_sets_go_by_position() -> None:
    images = load_arrays(np.zeros((3, 4, 4), np.uint8), [2, 0, 1])
    aligned = align_labels(images, ["x", "y", "z"])
    assert (aligned.labels.tolist(), aligned.class_names) == ([2, 0, 1], ("x", "y", "z"))
    with pytest.raises(InputError, match=r"mine|arrays has 3 numbered classes, the classifier 4"):
        align_labels(images, ["x", "y", "z", "w"])


def test_numbered_classifiers_need_names() -> None:
    with pytest.raises(InputError, match=r"only numbered.*--classes FILE"):
        align_labels(named(["a", "b"]), ["0", "1"])


def test_sets_without_labels_are_returned_as_they_are() -> None:
    images = load_arrays(np.zeros((2, 4, 4), np.uint8))
    assert align_labels(images, ["x"]) is images


def test_a_label_free_view_stays_one() -> None:
    aligned = align_labels(named(["a", "b"]).unlabelled(), ["b", "a"])
    with pytest.raises(LabelsHiddenError):
        _ = aligned.labels
    assert ImageSet(aligned.source, aligned.table, aligned.class_names).labels.tolist() == [1, 0]


def test_selections_are_aligned_too() -> None:
    images = named(["a", "b", "c"], [0, 1, 2, 0]).select([3, 1])
    aligned = align_labels(images, ["c", "b", "a"])
    assert (aligned.ids, aligned.labels.tolist()) == (["000003", "000001"], [2, 1])
    assert aligned.content_hash(0) == images.content_hash(0)


def several(names: list[str], bits: list[list[int]]) -> ImageSet:
    return load_arrays(np.zeros((len(bits), 4, 4), np.uint8), np.array(bits), class_names=names, name="chest")


def test_several_labels_per_image_are_moved() -> None:
    aligned = align_labels(several(["a", "B", "c"], [[1, 0, 0], [0, 1, 1], [0, 0, 0]]), ["c", "a", "b"])
    assert aligned.column("labels") == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert aligned.class_names == ("c", "a", "b")


def test_a_label_that_is_written_twice_is_there_where_one_of_them_says_so() -> None:
    twice = several(["a b", "a_b"], [[1, -1], [-1, 1], [0, -1], [0, 0]])
    assert align_labels(twice, ["a b"]).column("labels") == [[1], [1], [-1], [0]]


def test_several_labels_must_speak_of_all_classes() -> None:
    with pytest.raises(InputError, match=r"chest does not say whether its images show 'd'"):
        align_labels(several(["a", "b"], [[1, 0], [0, 1]]), ["a", "b", "d"])
    with pytest.raises(InputError, match=r"'unicorn'"):
        align_labels(several(["a", "unicorn"], [[1, 0], [0, 1]]), ["a"])
    assert align_labels(several(["unicorn", "a"], [[0, 1], [0, 0]]), ["a"]).column("labels") == [[1], [0]]


# -- WordNet ids -------------------------------------------------------------------------------------------------------

CRANES = ["n02012849", "n03126707"]  # the bird, the machine


@pytest.fixture(scope="module")
def descriptions() -> list[str]:
    info = pytest.importorskip("timm.data.imagenet_info").ImageNetInfo("imagenet-1k")
    return info.label_descriptions()


def test_wordnet_ids_in_the_order_of_imagenet(descriptions: list[str]) -> None:
    ids = importlib.import_module("timm.data.imagenet_info").ImageNetInfo("imagenet-1k").label_names()
    shuffled = np.random.default_rng(0).permutation(1000).tolist()
    images = named([ids[place] for place in shuffled])
    assert align_labels(images, descriptions).labels.tolist() == shuffled
    # Shortened names, as torchvision has them: still the same thousand classes in the same order.
    short = [name.split(",")[0] for name in descriptions]
    assert align_labels(images, short).labels.tolist() == shuffled


def test_wordnet_ids_by_name_elsewhere(descriptions: list[str]) -> None:
    images = named(["n02124075", "n02123045"])
    assert align_labels(images, ["tabby", "Egyptian_cat", "dog"]).labels.tolist() == [1, 0]
    with pytest.raises(InputError, match=r"class 'n02012849' of mine fits more than one"):
        align_labels(named(CRANES), ["crane", "crane", "dog"])
    with pytest.raises(InputError, match="'n99999999'"):
        align_labels(named(["n99999999"]), descriptions)


def test_wordnet_ids_that_both_sides_use_need_no_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_module, "_imagenet", lambda: pytest.fail("looked up"))
    assert align_labels(named(CRANES), list(reversed(CRANES))).labels.tolist() == [1, 0]


def test_ambiguous_cranes_by_name_are_an_error(descriptions: list[str]) -> None:
    with pytest.raises(
        InputError, match=r"'crane' of mine fits more than one class .*: 134 \('crane'\), 517 \('crane'\)"
    ):
        align_labels(named(["crane"]), descriptions)


def test_without_timm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, extra: str, purpose: str) -> object:
        raise MissingExtraError(module)

    labels_module._imagenet.cache_clear()
    monkeypatch.setattr(labels_module, "import_extra", missing)
    try:
        with pytest.raises(InputError, match=r"'n02012849'.*pip install 'snellen\[models\]'"):
            align_labels(named(CRANES), ["bird", "machine"])
    finally:
        labels_module._imagenet.cache_clear()


def test_a_folder_is_the_class_whose_name_it_cannot_hold():
    images = load_arrays(np.zeros((2, 4, 4), np.uint8), np.array([0, 1]), class_names=["T-shirt-top", "a b"])
    assert align_labels(images, ["a: b?", "T-shirt/top"]).labels.tolist() == [1, 0]
