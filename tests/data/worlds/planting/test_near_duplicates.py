"""Copies: which, how they differ, what stays true of them, and leaks across the border."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Provenance
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.worlds.planting.near_duplicates import COPY_KINDS, NearCopy, NearDuplicates
from snellen.data.worlds.planting.truth import planted_of, set_column
from snellen.data.worlds.rendered_source import RenderedSource
from tests.data.worlds.planting.labelled_sets import labelled_set, rows, shuffled

IMAGES, RNG = labelled_set(400, size=24), Randomness(4)


def copies_of(planted: ImageSet) -> list[tuple[int, int, str]]:
    """Position of each copy and of its original, and its kind."""
    place = {one: index for index, one in enumerate(planted.ids)}
    said = enumerate(planted_of(planted, "near_duplicate"))
    return [(index, place[str(entry["original"])], str(entry["kind"])) for index, entry in said if entry]


def test_each_image_is_copied_with_the_rate_and_kinds_are_alike() -> None:
    planted = NearDuplicates(rate=0.5).plant(IMAGES, rng=RNG)
    found = copies_of(planted)
    assert len(planted) == 400 + len(found)
    assert abs(len(found) - 200) < 5 * np.sqrt(400 * 0.25)
    counts = [sum(kind == one for _, _, one in found) for kind in COPY_KINDS]
    assert min(counts) > 15
    assert planted.ids[:400] == IMAGES.ids
    assert len(NearDuplicates(rate=1).plant(IMAGES, rng=RNG)) == 800
    assert NearDuplicates(rate=0).plant(IMAGES, rng=RNG).ids == IMAGES.ids


def test_a_copy_has_label_unit_and_split_of_its_original_and_names_it() -> None:
    planted = NearDuplicates(rate=0.3).plant(IMAGES, rng=RNG)
    for copy, original, kind in copies_of(planted):
        for column in ("label", "unit_id", "split"):
            assert planted.column(column)[copy] == planted.column(column)[original]
        provenance = Provenance.model_validate_json(str(planted.column("provenance")[copy]))
        assert provenance.source_id == planted.ids[original]
        assert provenance.origin == ("real" if kind == "exact" else "edited")
        assert (planted.column("attributes")[copy] is None) == (kind in ("cropped", "flipped"))
        same = planted.content_hash(copy) == planted.content_hash(original)
        assert same == (kind == "exact")


def test_copies_do_not_depend_on_company() -> None:
    defect = NearDuplicates(rate=0.3)
    whole = rows(defect.plant(IMAGES, rng=RNG))
    assert rows(defect.plant(shuffled(IMAGES), rng=RNG)) == whole
    part = IMAGES.select(range(0, 400, 3))
    wanted = {*part.ids, *(f"{one}_copy" for one in part.ids)}
    assert rows(defect.plant(part, rng=RNG)) == {one: row for one, row in whole.items() if one in wanted}


@pytest.mark.parametrize("draw", [0.0, 0.03, 0.37, 0.5, 0.99])
def test_pictures_of_copies(draw: float) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 200, (40, 50, 3), dtype=np.uint8))
    made = {kind: NearCopy(kind=kind, strength=0.1, draw=draw).apply(picture) for kind in COPY_KINDS}
    assert {one.size for one in made.values()} == {(50, 40)}
    before = np.array(picture)
    assert np.array_equal(np.array(made["exact"]), before)
    assert np.array_equal(np.array(made["flipped"]), before[:, ::-1])
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=75)
    assert np.array_equal(np.array(made["encoded"]), np.array(Image.open(stream)))
    factor = NearCopy(kind="brightened", strength=0.1, draw=draw).brightness
    assert 0.05 <= abs(factor - 1) <= 0.1
    assert np.array_equal(np.array(made["brightened"]), np.rint(before * factor))
    x0, y0, x1, y1 = NearCopy(kind="cropped", strength=0.1, draw=draw).crop_box(50, 40)
    assert (x1 - x0, y1 - y0) == (45, 36)
    assert min(x0, y0) >= 0
    assert (x1 <= 50, y1 <= 40) == (True, True)


def test_the_smallest_pictures_can_be_cropped() -> None:
    for size in ((1, 1), (2, 3), (1, 9)):
        assert NearCopy(kind="cropped", strength=0.4, draw=0.7).apply(Image.new("RGB", size)).size == size


@pytest.mark.parametrize("kind", ["cropped", "flipped"])
def test_masks_and_boxes_move_along(kind: str) -> None:
    """A white rectangle that is its own mask: after a copy, mask and box still say where it is."""

    def draw(row: int) -> np.ndarray:
        mask = np.zeros((60, 80), dtype=np.uint8)
        mask[10 + row : 40, 5:30] = 255
        return mask

    masks = lambda chosen: np.stack([draw(row) for row in chosen])  # noqa: E731
    source = RenderedSource(4, lambda chosen: masks(chosen)[..., None].repeat(3, -1), str, masks=masks)
    table = pa.table(
        {
            "id": list("abcd"),
            "mask": [f"masks/{one}.png" for one in "abcd"],
            "boxes": pa.array([[[5.0, 10.0 + row, 30.0, 40.0]] for row in range(4)], COLUMNS["boxes"]),
            "caption": ["left"] * 4,
        }
    )
    planted = NearDuplicates(rate=1, kinds=(kind,)).plant(ImageSet(source, table), rng=RNG)
    assert planted.column("mask")[4:] == [f"masks/{one}_copy.png" for one in "abcd"]
    assert planted.column("caption") == ["left"] * 4 + [None] * 4
    for index in range(8):
        picture, mask = np.array(planted.read(index))[..., 0] > 127, np.array(planted.read_mask(index)) > 127
        assert (picture != mask).mean() < 0.01
        ((x0, y0, x1, y1),) = planted.column("boxes")[index]
        seen = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        edges = [seen[0][0], seen[1][0], seen[0][-1] + 1, seen[1][-1] + 1]
        assert np.abs(np.array([x0, y0, x1, y1]) - edges).max() <= 1


def test_a_leak_puts_test_images_among_training_images() -> None:
    train, test = labelled_set(60, size=16), labelled_set(50, size=16, seed=7, split="test")
    renamed = replace(test, table=set_column(test.table, "id", pa.array([f"test/{one}" for one in test.ids])))
    leaky = NearDuplicates(rate=0.4, kinds=("exact", "encoded")).leak(train, renamed, rng=RNG)
    said = [entry for entry in planted_of(leaky, "near_duplicate") if entry]
    assert leaky.ids[:60] == train.ids
    assert len(leaky) == 60 + len(said)
    assert 5 < len(said) < 35
    assert set(leaky.column("split")) == {"train"}
    assert leaky.for_fitting() is leaky
    for index, entry in enumerate(said, start=60):
        original = renamed.ids.index(str(entry["original"]))
        assert leaky.ids[index] == f"train/test_{test.ids[original]}_copy"
        assert leaky.labels[index] == test.labels[original]
        if entry["kind"] == "exact":
            assert leaky.read(index).tobytes() == test.read(original).tobytes()
    with pytest.raises(InputError, match="train or val as a whole; noise has split=test"):
        NearDuplicates().leak(test, train, rng=RNG)
    other = load_arrays(np.zeros((2, 4, 4), dtype=np.uint8), [0, 1])
    with pytest.raises(InputError, match="different classes: arrays, noise"):
        NearDuplicates().leak(train, other, rng=RNG)


def test_refused() -> None:
    with pytest.raises(InputError, match="holds test images only"):
        NearDuplicates().plant(labelled_set(4, split="test"), rng=RNG)
    planted = NearDuplicates(rate=1).plant(IMAGES, rng=RNG)
    with pytest.raises(InputError, match="'000000_copy' occurs twice"):
        NearDuplicates(rate=1, key="again").plant(planted, rng=RNG)
    assert json.loads(NearDuplicates().model_dump_json())["kinds"] == list(COPY_KINDS)
