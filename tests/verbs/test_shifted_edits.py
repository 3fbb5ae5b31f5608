"""Edits of objects as a data set: the same images in all of them, masks beside them, whatever the masks are."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import snellen
from snellen.core.errors import InputError
from snellen.core.method import Method
from snellen.core.outcomes import Edited
from snellen.core.randomness import Randomness
from snellen.methods.edits.masked_object import EditedObjects
from snellen.models.segmenters import object_masks
from snellen.runs.picture_grid import GAP
from snellen.runs.thumbnails import SIDE
from snellen.systems.attribute_editing.method import AttributeEditing
from snellen.verbs import shift as shifted_images
from snellen.verbs.shift import shift
from tests.verbs.picture_sets import rows_of, save
from tests.verbs.small_shifts import Fade
from tests.verbs.stopping import Stopping, contents

POSITION, INVER = AttributeEditing(kind="random_position"), AttributeEditing(kind="inver")
LENT, TURNED = AttributeEditing(kind="random_background"), AttributeEditing(kind="random_direction")
EDITS = [INVER, POSITION, LENT, TURNED]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Red objects before the grounds of their classes, green and blue, and one as wide as its image."""
    folder = tmp_path_factory.mktemp("objects")
    rng = np.random.default_rng(0)
    rows = ["path,id,label,mask"]
    for name, height, width, box in (
        ("g/a", 16, 16, (4, 3, 10, 8)),
        ("g/b", 16, 16, (2, 6, 8, 12)),
        ("g/wide", 14, 30, (3, 3, 9, 11)),
        ("b/a", 16, 16, (9, 9, 15, 14)),
        ("b/b", 16, 16, (1, 1, 6, 7)),
        ("b/bar", 16, 16, (2, 0, 14, 16)),
        ("b/bare", 16, 16, (1, 1, 6, 7)),
        ("g/empty", 16, 16, (0, 0, 0, 0)),
    ):
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[..., 1 if name.startswith("g") else 2] = 150
        mask = np.zeros((height, width), np.uint8)
        mask[box[0] : box[2], box[1] : box[3]] = 255
        pixels[mask > 0] = rng.integers(180, 256, ((mask > 0).sum(), 3)) * (1, 0, 0)
        save(folder / f"{name}.png", pixels)
        save(folder / "masks" / f"{name}.png", mask)
        rows.append(f"{name}.png,{name},{name[0]},{'' if name.endswith('bare') else f'masks/{name}.png'}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return snellen.load_images(folder / "manifest.csv")


@pytest.fixture(scope="module")
def edited(photos, tmp_path_factory):
    return shift(photos, EDITS, out=tmp_path_factory.mktemp("edited") / "out", allow_rejected=True)


def pictures(written, setting):
    """Source id → pixels and mask, as another reader finds them."""
    images = snellen.load_images(written.manifest)
    return {
        row["source_id"]: (np.asarray(images.read(index)), np.asarray(images.read_mask(index)) > 0)
        for index, row in enumerate(images.table.to_pylist())
        if row["group"] == setting
    }


def original(photos, example_id):
    index = photos.ids.index(example_id)
    return np.asarray(photos.read(index)), np.asarray(photos.read_mask(index)) > 0


def test_the_published_edit_alone_is_written_with_the_masks_of_the_edited_objects(photos, edited):
    assert edited.plan["severities"] == [5.0]
    moved = 0
    for setting in ("inver", "random_position", "random_background"):
        for key, (pixels, mask) in pictures(edited, setting).items():
            before, at = original(photos, key)
            assert np.array_equal(pixels[mask], before[at]), "every pixel of the object, in its order"
            moved += setting == "random_position" and not np.array_equal(mask, at)
            assert setting == "random_position" or np.array_equal(mask, at)
    assert moved >= 4
    assert {row["severity"] for row in rows_of(edited)} == {"5"}


@pytest.mark.covers("27.7")
def test_an_image_that_one_edit_fails_is_left_out_of_all_by_name_and_reason(photos, edited):
    kept = {"g/a", "g/b", "g/wide", "b/a", "b/b"}
    for setting in edited.written:
        assert set(pictures(edited, setting)) == kept, setting
    told = {(one.id, one.setting): one.reason for one in edited.rejected}
    assert "no mask" in told["b/bare", None]
    assert "empty" in told["g/empty", None]
    assert "would not fit" in told["b/bar", "random_direction"]
    assert len(told) == 3
    assert set(edited.written.values()) == {5}
    assert not list(edited.folder.rglob("*bar*")), "no reader of the folder finds what the manifest leaves out"
    assert len(list(edited.folder.rglob("*.png"))) == 2 * 4 * 5 + 1
    assert json.loads((edited.folder / "shift.json").read_text())["plan"]["same_images"] == list(edited.written)


def test_a_lent_background_is_of_another_class_and_fills_the_frame(photos, edited):
    for key, (pixels, mask) in pictures(edited, "random_background").items():
        ground = pixels[~mask].astype(int)
        assert (ground[:, 1] > ground[:, 2]).mean() == (0.0 if key.startswith("g") else 1.0), key
        assert ground[:, 1:].max(1).min() > 100, "no part of the frame stays empty, and no object is lent"


def test_a_lent_background_is_filled_as_the_edit_fills(photos, tmp_path):
    """Two images whose objects lie before stripes: moved pixels keep the stripes, Telea's method blurs them."""
    rows = ["path,id,label,mask"]
    for name in "ab":
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[:, ::2, 2] = 200
        mask = np.zeros((16, 16), np.uint8)
        mask[5:11, 5:11] = pixels[5:11, 5:11, 0] = 255
        save(tmp_path / f"{name}.png", pixels)
        save(tmp_path / "masks" / f"{name}.png", mask)
        rows.append(f"{name}.png,{name},{name},masks/{name}.png")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    striped = snellen.load_images(tmp_path / "manifest.csv")
    found = []
    for fill in ("moved", "telea"):
        lent = EditedObjects(striped, Randomness(0)).lent("a", 16, 16, fill, 0.2)
        method = LENT.model_copy(update={"fill": fill, "ring": 0.2})
        written = shift(striped, method, out=tmp_path / fill, contact_sheet=False)
        pixels, mask = pictures(written, "random_background")["a"]
        found.append(np.abs(pixels - 255 * lent.permute(1, 2, 0).numpy())[~mask].max())
        assert (lent[2].unique().numel() > 2) == (fill == "telea")
    assert max(found) < 1


def test_what_cannot_be_loaded_is_reported_before_anything_is_written(photos, tmp_path):
    misled = AttributeEditing(
        kind="adversarial_background", generator="bundled:scene-diffusion", classifier="bundled:none-there"
    )
    with pytest.raises(InputError, match="none-there"):
        shift(photos, [INVER, misled], out=tmp_path / "out", allow_rejected=True)
    assert not (tmp_path / "out").exists()


def test_batch_size_order_and_the_rest_of_the_set_change_no_pixel(photos, edited, tmp_path):
    few = photos.select([4, 2, 0])
    written = shift(few, POSITION, out=tmp_path / "few", batch_size=1, contact_sheet=False, allow_rejected=True)
    for key, (pixels, mask) in pictures(written, "random_position").items():
        same = pictures(edited, "random_position")[key]
        assert np.array_equal(pixels, same[0]), key
        assert np.array_equal(mask, same[1]), key
    one = shift(photos, LENT, out=tmp_path / "one", batch_size=1, contact_sheet=False, allow_rejected=True)
    for key, (pixels, _) in pictures(edited, "random_background").items():
        assert np.array_equal(pixels, pictures(one, "random_background")[key][0]), key


def test_edits_share_one_sheet_and_other_shifts_have_their_own(photos, tmp_path, edited):
    with Image.open(edited.folder / "contact-sheet-attribute_editing.png") as sheet:
        assert sheet.size[0] == GAP + 5 * (SIDE + GAP), "original and four edits"
    both = shift(photos, [Fade(), TURNED], out=tmp_path / "both", severities=(2, 5), allow_rejected=True)
    assert {path.name for path in both.contact_sheets} == {
        "contact-sheet-fade.png",
        "contact-sheet-attribute_editing.png",
    }
    assert both.written == {"fade": 8, "random_direction": 5}, "a shift that knows no objects keeps all images"
    masked = {row["group"]: row["mask"] for row in rows_of(both)}
    assert masked["fade"] is None
    assert masked["random_direction"].startswith("masks/random_direction/5/")


def test_without_severities_a_shift_beside_edits_has_all_five(photos, tmp_path):
    written = shift(photos, [Fade(), INVER], out=tmp_path / "out", contact_sheet=False, allow_rejected=True)
    assert written.plan["severities"] == [1, 2, 3, 4, 5]


def test_an_interrupted_call_goes_on_and_a_lost_mask_is_made_again(photos, edited, tmp_path, monkeypatch):
    monkeypatch.setattr(shifted_images, "IMAGES_PER_SHARD", 4)
    with pytest.raises(KeyboardInterrupt):
        shift(photos, EDITS, out=tmp_path / "out", progress=Stopping(13, "shifting"))
    next((tmp_path / "out" / "masks" / "inver").rglob("*.png")).unlink()
    listener = Stopping(10**9, "shifting")
    again = shift(photos, EDITS, out=tmp_path / "out", progress=listener, allow_rejected=True)
    assert contents(again.folder) == contents(edited.folder)
    assert listener.notes.count("already done") == 2, "of three whole shards, the one that lost a mask is done again"


def test_archives_hold_the_same_images_without_masks(photos, tmp_path):
    square = photos.select([0, 1, 3, 4, 5])
    written = shift(square, [INVER, TURNED], out=tmp_path / "out", format="medmnist-c", allow_rejected=True)
    assert [len(snellen.load_images(path)) for path in written.archives] == [4, 4]
    assert not list(written.folder.rglob("masks"))


class Halves:
    """Finds the left half of every image."""

    name, prompts = "halves", frozenset()

    def identity(self):
        return "halves-1"

    def segment(self, images, *, points=None):
        from snellen.models.segmenters.protocol import Segmented

        assert points is None
        found = torch.zeros(len(images), 1, *images.shape[2:])
        found[..., 2:-2, : images.shape[3] // 2] = 1
        count = len(images)
        return Segmented(candidates=found, predicted=torch.ones(count, 1), chosen=torch.zeros(count).long(), rule="one")


def test_a_segmenter_takes_the_place_of_masks_and_is_in_the_plan(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(object_masks, "_loaded", lambda reference, device: Halves())
    bare = photos.select([6, 7])
    with pytest.raises(InputError, match=r"needs masks .*--segmenter"):
        shift(photos.select([6]), INVER, out=tmp_path / "none")
    written = shift(bare, INVER, segmenter="isnet:file.onnx", out=tmp_path / "out", allow_rejected=True)
    assert written.written == {"inver": 2}
    assert written.plan["segmenter"] == {"name": "halves", "identity": "halves-1"}
    for _, mask in pictures(written, "inver").values():
        assert mask[2:-2, :8].all()
        assert mask.sum() == 12 * 8
    with pytest.raises(InputError, match="no method that was given edits any"):
        shift(bare, Fade(), segmenter="isnet:file.onnx", out=tmp_path / "fade")
    assert not (tmp_path / "fade").exists()


class Broken(Method):
    """An edit that breaks the promise of its verb: NaN for wide images."""

    name = "broken"

    def edit(self, images, masks, severity, *, rng, backgrounds=None, labels=None):
        changed = images * (float("nan") if images.shape[3] > 16 else 1.0)
        return Edited(changed, masks, ("ok",) * len(images))


def test_what_is_not_finite_is_set_aside(photos, tmp_path):
    written = shift(photos.select([0, 2]), Broken(), out=tmp_path / "out", allow_rejected=True)
    assert written.written == {"broken": 1}
    assert [one.id for one in written.rejected] == ["g/wide"]
    assert "not finite" in written.rejected[0].reason
