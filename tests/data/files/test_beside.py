"""Masks in a folder of their own, and a table that names the images: matched, or refused with counts and examples."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import snellen
from snellen.core.errors import InputError, RunConflictError
from snellen.core.run_plan import describe_beside
from snellen.data.files.joining import join
from snellen.data.privacy.nameless import without_names
from snellen.data.privacy.pseudonyms import KEY_BYTES, Pseudonyms
from snellen.data.references import load_images_again

IMAGES = ("cat/1.png", "cat/2.png", "dog/3.png")


def write(folder, paths, value=128, size=(6, 4)):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((size[1], size[0]), value, dtype=np.uint8)).save(folder / path)
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "images", IMAGES)


def table(tmp_path, *lines):
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    "names",
    [IMAGES, ("1.png", "2.png", "3.png"), ("1.tif", "2.tif", "3.tif"), ("1_mask.png", "2_mask.png", "3_mask.png"),
     ("cat/1_segmentation.png", "cat/2_segmentation.png", "dog/3_segmentation.png")],
)  # fmt: skip
def test_masks_are_called_like_the_images(tmp_path, folder, names):
    masks = tmp_path / "masks"
    for value, name in enumerate(names, start=1):
        write(masks, [name], value)
    images = snellen.load_images(folder, masks=masks)
    assert [int(np.asarray(images.read_mask(index)).max()) for index in range(3)] == [1, 2, 3]
    again = load_images_again(images.reference)
    assert again.read_mask(2).getpixel((0, 0)) == 3
    assert snellen.load_images(folder).read_mask(0) is None


def test_images_may_lack_a_mask_and_masks_an_image_but_not_both(tmp_path, folder):
    masks = write(tmp_path / "masks", ["1.png", "2.png"])
    images = snellen.load_images(folder, masks=masks)
    assert images.column("mask") == ["1.png", "2.png", None]
    assert "2 of 3 images have a mask" in images.notes[-1]
    write(masks, ["3.png", "4.png"])
    assert None not in snellen.load_images(folder, masks=masks).column("mask")
    (masks / "3.png").unlink()
    with pytest.raises(InputError, match=r"1 mask \('4.png'\).*1 image \('dog/3.png'\)"):
        snellen.load_images(folder, masks=masks)


def test_a_bare_name_that_two_images_have_is_ambiguous(tmp_path):
    folder = write(tmp_path / "images", ("cat/1.png", "dog/1.png"))
    masks = write(tmp_path / "masks", ["1.png"])
    with pytest.raises(InputError, match=r"1 name \('1.png'\).*several images.*'cat/1.png'"):
        snellen.load_images(folder, masks=masks)


def test_masks_need_files(tmp_path):
    with pytest.raises(InputError, match="beside images that are files"):
        snellen.load_images("bundled:fashion-mnist", masks=tmp_path)
    with pytest.raises(InputError, match="by a reference"):
        snellen.load_images(np.zeros((1, 4, 4), dtype=np.uint8), masks=tmp_path)


def test_a_table_says_units_and_groups(tmp_path, folder):
    place = table(tmp_path, "file,patient,hospital,age", "3,c,H2,7", "1,a,H1,5", "2,b,H1,6", "9,z,H9,1")
    columns = {"unit": "patient", "group": "hospital"}
    images = snellen.load_images(folder, table=place, columns=columns)
    assert images.column("unit_id") == ["a", "b", "c"]
    assert images.column("group") == ["H1", "H1", "H2"]
    assert images.column("age") == ["5", "6", "7"]
    assert images.class_names == ("cat", "dog")
    assert "1 of 4 rows" in images.notes[-1]
    assert load_images_again(images.reference).column("group") == ["H1", "H1", "H2"]


def test_labels_of_a_table_count_where_they_are_named(tmp_path, folder):
    place = table(tmp_path, "image,label", "cat/1.png,x", "cat/2.png,y", "dog/3.png,x")
    assert snellen.load_images(folder, table=place).class_names == ("cat", "dog")
    named = snellen.load_images(folder, table=place, columns={"label": "label"})
    assert (named.class_names, named.labels.tolist()) == (("x", "y"), [0, 1, 0])


def test_parquet_tables_join_too(tmp_path, folder):
    pq.write_table(pa.table({"filename": ["1.png", "2.png", "3.png"], "who": [7, 8, 9]}), tmp_path / "t.parquet")
    images = snellen.load_images(folder, table=tmp_path / "t.parquet", columns={"unit": "who"})
    assert images.column("unit_id") == ["7", "8", "9"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("file,a", "1,x", "2,y"), r"1 image \('dog/3.png'\).*have no row"),
        (("file,a", "1,x", "2,y", "3,z", "1.png,w"), r"1 name \('1'\)|1 name \('1.png'\)"),
        (("which,a", "1,x"), "no column of file names; it has: which, a"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, folder, lines, told):
    with pytest.raises(InputError, match=told):
        snellen.load_images(folder, table=table(tmp_path, *lines))


def test_a_plan_changes_with_the_content_of_masks(tmp_path, folder):
    masks = write(tmp_path / "masks", ["1.png", "2.png", "3.png"], 255)
    listed = folder / "list.csv"
    listed.write_text("path,mask\ncat/1.png,cat/2.png\ndog/3.png,cat/2.png\n")
    forms = {
        "folder": lambda: snellen.load_images(folder, masks=masks),
        "manifest": lambda: snellen.load_images(listed),
        "joined": lambda: join([snellen.load_images(folder, masks=masks)]),
        "nameless": lambda: without_names(snellen.load_images(folder, masks=masks), Pseudonyms(bytes(KEY_BYTES))),
    }
    before = {name: describe_beside(load()) for name, load in forms.items()}
    assert all(before.values())
    assert before == {name: describe_beside(load()) for name, load in forms.items()}
    write(masks, ["2.png"], 254)
    write(folder, ["cat/2.png"], 3)
    after = {name: describe_beside(load()) for name, load in forms.items()}
    assert [name for name in forms if after[name] == before[name]] == []
    (masks / "2.png").write_bytes(b"")
    assert describe_beside(forms["folder"]()) != after["folder"]


def test_images_without_anything_beside_have_no_further_hash(folder):
    assert describe_beside(snellen.load_images(folder)) == {}
    assert describe_beside(snellen.load_images("optotypes:scenes?count=5")) == {}


def test_a_run_is_not_taken_up_with_other_masks(tmp_path, folder):
    masks = write(tmp_path / "masks", ["1.png", "2.png", "3.png"], 255)
    shift = {"method": "corruption", "kind": "brightness"}
    call = {"method": shift, "out": tmp_path / "shifted", "severities": [1]}
    snellen.shift(snellen.load_images(folder, masks=masks), **call)
    snellen.shift(snellen.load_images(folder, masks=masks), **call)
    write(masks, ["2.png"], 254)
    with pytest.raises(RunConflictError):
        snellen.shift(snellen.load_images(folder, masks=masks), **call)


def test_endings_of_masks_are_found_in_any_case(tmp_path, folder):
    masks = write(tmp_path / "masks", ["1_MASK.png", "2_Segmentation.PNG", "3-Mask.png"])
    assert snellen.load_images(folder, masks=masks).column("mask") == ["1_MASK.png", "2_Segmentation.PNG", "3-Mask.png"]


@pytest.mark.parametrize("column", ["split", "fold"])
def test_the_split_of_a_table_chooses_images(tmp_path, folder, column):
    place = table(tmp_path, f"file,{column},site", "1,train,x", "2,test,y", "3,test,z")
    columns = {"split": "fold"} if column == "fold" else None
    both = snellen.load_images(folder, table=place, columns=columns)
    assert len(both) == 3
    assert both.notes[-1] == "images of several splits are used: 2 test, 1 train; choose one with #test or #train"
    images = snellen.load_images(f"{folder}#test", table=place, columns=columns)
    assert (images.ids, images.split) == (["cat/2.png", "dog/3.png"], "test")
    assert images.notes == ()
    assert images.name == "images (test split)"
    assert load_images_again(images.reference).ids == images.ids
    with pytest.raises(InputError, match="no images of split 'val'; it has: test, train"):
        snellen.load_images(f"{folder}#val", table=place, columns=columns)


def test_images_that_say_their_split_need_rows_of_that_alone(tmp_path):
    folder = write(tmp_path / "images", ("train/cat/1.png", "test/cat/2.png", "test/dog/3.png"))
    place = table(tmp_path, "file,split,site", "2,train,y", "3,train,z")
    images = snellen.load_images(f"{folder}#test", table=place)
    assert images.column("site") == ["y", "z"]
    assert set(images.column("split")) == {"test"}
    place = table(tmp_path, "file,split,site", "1,test,x", "2,train,y", "3,train,z")
    assert snellen.load_images(f"{folder}#test", table=place, columns={"split": "split"}).column("site") == ["x"]
