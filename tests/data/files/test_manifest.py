"""Manifests: what columns mean, what is rejected per row, and what is an error that names the row."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.data.files.decoding import DecodingLimits
from snellen.data.files.manifest import load_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(4):
        Image.new("RGB", (4, 3), (number,) * 3).save(data / f"{number}.png")
    Image.new("RGB", (4, 3)).save(tmp_path / "outside.png")
    return data


def csv(folder: Path, *lines: str) -> Path:
    path = folder / "list.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def parquet(folder: Path, **columns: object) -> Path:
    path = folder / "list.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def reason(images: ImageSet, index: int) -> str:
    with pytest.raises(RejectedImageError) as caught:
        images.read(index)
    return str(caught.value)


# -- columns -----------------------------------------------------------------------------------------------------------


def test_paths_alone_are_enough(folder: Path) -> None:
    images = load_manifest(csv(folder, "path", "1.png", "0.png"))
    assert images.ids == ["1.png", "0.png"]
    assert (images.class_names, images.name, images.split) == (None, "list", None)
    assert images[0].image.getpixel((0, 0)) == (1, 1, 1)


def test_labels_by_name(folder: Path) -> None:
    images = load_manifest(csv(folder, "id,path,label", "a,0.png,dog", 'b,1.png,"cat, big"', "c,2.png,"))
    assert images.class_names == ("cat, big", "dog")
    assert images.labels.tolist() == [1, 0, -1]
    assert images.ids == ["a", "b", "c"]


def test_labels_by_number(folder: Path) -> None:
    images = load_manifest(csv(folder, "path,label", "0.png,10", "1.png,2", "2.png,-1", "3.png,"))
    assert images.class_names == tuple(str(number) for number in range(11))
    assert images.labels.tolist() == [10, 2, -1, -1]


def test_numbers_with_leading_zeros_are_names(folder: Path) -> None:
    assert load_manifest(csv(folder, "path,label", "0.png,007", "1.png,7")).class_names == ("007", "7")


def test_a_label_column_without_labels(folder: Path) -> None:
    for value in ("", "-1"):
        images = load_manifest(csv(folder, "path,label", f"0.png,{value}"))
        assert (images.class_names, images.has_labels) == (None, False)


def test_labels_of_bags_are_of_the_same_classes(folder: Path) -> None:
    images = load_manifest(
        csv(folder, "path,label,bag_id,bag_label", "0.png,,s,wolf", "1.png,cat,t,", "2.png,cat,s,wolf")
    )
    assert images.class_names == ("cat", "wolf")
    assert images.column("bag_label") == [1, None, 1]
    assert images.unlabelled().column("bag_label") == [1, None, 1]
    alone = load_manifest(csv(folder, "path,bag_id,bag_label", "0.png,s,0", "1.png,t,2", "2.png,u,-1"))
    assert (alone.class_names, alone.column("bag_label")) == (("0", "1", "2"), [0, 2, None])
    assert not alone.has_labels
    other = load_manifest(csv(folder, "path,bag_id,bag_label", "0.png,s,0", "1.png,t,1", "2.png,u,-1"))
    prints = [one.select([0, 1]).fingerprint() for one in (alone, other)]
    assert prints[0] != prints[1]
    with pytest.raises(InputError, match=r"line 2: bag_label is neither .*; got '1\.0'"):
        load_manifest(csv(folder, "path,label,bag_label", "0.png,cat,1.0"))
    with pytest.raises(
        InputError,
        match=r"bag_label holds numbers, and the other .*; write both alike; got \['0', '1', 'cat', 'wolf'\]",
    ):
        load_manifest(csv(folder, "path,label,bag_id,bag_label", "0.png,cat,s,0", "1.png,wolf,t,1"))
    named = load_manifest(csv(folder, "path,label,bag_id,bag_label", "0.png,1,s,1", "1.png,none,t,"))
    assert (named.class_names, named.column("bag_label")) == (("1", "none"), [0, None])


def test_every_column_of_csv(folder: Path) -> None:
    provenance = json.dumps({"origin": "generated", "seed": 3}).replace('"', '""')
    images = load_manifest(
        csv(
            folder,
            "path,unit_id,group,split,mask,boxes,caption,attributes,bag_id,provenance,camera",
            f'0.png,p1,north,val,m.png,"[[0, 0, 2, 2.5]]","a, b","{{""red"": true}}",s1,"{provenance}",x',
            "1.png,2,,train,,,,,,,",
        )
    )
    assert images.column("unit_id") == ["p1", "2"]
    assert images.column("group") == ["north", None]
    assert images.column("split") == ["val", "train"]
    assert images.column("boxes") == [[[0, 0, 2, 2.5]], None]
    assert images.column("caption") == ["a, b", None]
    assert images.column("attributes") == ['{"red": true}', None]
    assert json.loads(str(images.column("provenance")[0]))["seed"] == 3
    assert images.column("camera") == ["x", None]
    assert images.column("path") == ["0.png", "1.png"]


def test_parquet_keeps_types_of_further_columns(folder: Path) -> None:
    images = load_manifest(
        parquet(
            folder,
            id=["a", "b"],
            path=["0.png", "1.png"],
            label=pa.array([1, None], pa.int32()),
            unit_id=[7, 8],
            boxes=[[[0.0, 0.0, 1.0, 1.0]], []],
            age=[61.5, 40.0],
            site=pa.array(["x", "y"]).dictionary_encode(),
        )
    )
    assert images.labels.tolist() == [1, -1]
    assert images.column("unit_id") == ["7", "8"]
    assert images.column("age") == [61.5, 40.0]
    assert images.column("site") == ["x", "y"]
    assert images.column("boxes") == [[[0, 0, 1, 1]], []]


def test_parquet_labels_by_name(folder: Path) -> None:
    names = pa.array(["dog", "cat"]).dictionary_encode()
    assert load_manifest(parquet(folder, path=["0.png", "1.png"], label=names)).class_names == ("cat", "dog")


def test_a_folder_called_like_a_partition_adds_no_column(folder: Path) -> None:
    (folder / "split=test").mkdir()
    images = load_manifest(parquet(folder / "split=test", path=["0.png"]))
    assert images.column("split") == [None]


def test_one_split_throughout_is_the_split_of_the_set(folder: Path) -> None:
    images = load_manifest(csv(folder, "path,split", "0.png,test", "1.png,test"))
    assert images.split == "test"
    assert load_manifest(csv(folder, "path,split", "0.png,test", "1.png,")).split is None


def test_several_labels_per_image(folder: Path) -> None:
    images = load_manifest(csv(folder, "path,labels", '0.png,"[0, 1, 1]"', "1.png,", '2.png,"[1.0, 0, 0]"'))
    assert images.class_names == ("0", "1", "2")
    assert images.column("labels") == [[0, 1, 1], None, [1, 0, 0]]


def test_a_field_of_labels_without_a_name_is_unknown_and_not_none_of_them(folder: Path) -> None:
    images = load_manifest(csv(folder, "path,labels", "0.png,a|b", "1.png,  ", "2.png,|"))
    assert images.label_sets.tolist() == [[1, 1], [-1, -1], [-1, -1]]
    table = pa.table({"path": ["0.png", "1.png", "2.png"], "labels": ["a|b", "", "none"]})
    pq.write_table(table, folder / "names.parquet")
    assert load_manifest(folder / "names.parquet").label_sets.tolist() == [[1, 1], [-1, -1], [0, 0]]


def test_byte_order_mark_and_windows_lines(folder: Path) -> None:
    (folder / "list.csv").write_bytes("\ufeffpath,label\r\n0.png,café\r\n\r\n1.png,x\r\n".encode())
    images = load_manifest(folder / "list.csv")
    assert images.class_names == ("café", "x")
    assert images.ids == ["0.png", "1.png"]


# -- rejected rows -----------------------------------------------------------------------------------------------------


def test_paths_that_leave_the_folder_are_rejected_per_row(folder: Path) -> None:
    (folder / "link.png").symlink_to("../outside.png")
    paths = ["0.png", str(folder / "1.png"), "../outside.png", "link.png", "../data/2.png", "x/../../outside.png"]
    images = load_manifest(csv(folder, "path", *paths))
    assert images[0].image.size == (4, 3)
    assert "absolute" in reason(images, 1)
    for index in (2, 3, 5):
        assert reason(images, index) == "the path leads out of its folder"
    assert images[4].image.size == (4, 3)  # out and in again is inside


def test_missing_files_and_empty_paths_are_rejected_per_row(folder: Path) -> None:
    images = load_manifest(csv(folder, "id,path", "a,9.png", "b,", "c,0.png"))
    assert reason(images, 0) == "there is no such file"
    assert reason(images, 1) == "the path is empty"
    assert images[2].image.size == (4, 3)
    assert len({images.content_hash(index) for index in range(3)}) == 3


def test_a_manifest_behind_a_link_counts_from_where_it_is_seen(folder: Path) -> None:
    original = csv(folder, "path", "0.png")
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "list.csv").symlink_to(original)
    assert reason(load_manifest(elsewhere / "list.csv"), 0) == "there is no such file"


def test_limits_reach_the_decoder(folder: Path) -> None:
    images = load_manifest(csv(folder, "path", "0.png"), limits=DecodingLimits(max_pixels=11))
    assert "more than 11" in reason(images, 0)


# -- errors ------------------------------------------------------------------------------------------------------------

ERRORS = {
    "no path column": (["id,label", "a,1"], r"no column 'path' .* it has: id, label"),
    "semicolons": (["path;label", "a;1"], "separate columns by commas"),
    "nothing at all": ([], "no column 'path'.* it has: nothing"),
    "a header alone": (["path,label"], "lists no images"),
    "a column twice": (["path,label,label", "0.png,1,2"], "more than one column 'label'"),
    "too many fields": (["path,label", "0.png,1", "1.png,a,b"], r"line 3: 3 fields, but the header has 2"),
    "too few fields": (["path,label", "0.png"], r"line 2: 1 fields, but the header has 2"),
    "an open quote": (["path", '"0.png'], r"line 2: not readable as CSV"),
    "no id and no path": (["id,path", ",  0.png", ","], r"line 3: neither an id nor a path"),
    "an id twice": (["id,path", "a,0.png", "a,1.png"], "ids must be unique; 'a' occurs twice"),
    "a path twice": (["path", "0.png", "0.png"], "ids must be unique; '0.png' occurs twice"),
    "a negative label": (["path,label", "0.png,0", "1.png,-2"], r"line 3: label is no class: .*; got -2"),
    "a float label": (
        ["path,label", "0.png,1", "1.png,3.0"],
        r"line 3: label is neither .*write 3, not 3.0\); got '3\.0'",
    ),
    "an identifier as label": (["path,label", "0.png,1234567"], "1234568 classes, more than 100000"),
    "an unknown split": (["path,split", "0.png,holdout"], r"line 2: unknown split; known: train.*; got 'holdout'"),
    "labels of unequal length": (
        ["path,labels", '0.png,"[0,1]"', '1.png,"[0,1,1]"'],
        r"line 3: labels must be 2 values of 0 or 1",
    ),
    "labels that are no bits": (["path,labels", '0.png,"[0,2]"'], r"line 2: labels must be 2 values"),
    "labels that are no list": (["path,labels", "0.png,3"], r"line 2: labels must be a list"),
    "labels that are no JSON": (["path,labels", "0.png,0 1"], r"line 2: labels is not JSON"),
    "label and labels disagree": (
        ["path,label,labels", '0.png,a,"[0,1]"'],
        "'labels' has 2 classes, but 'label' has 1",
    ),
    "boxes inside out": (["path,boxes", '0.png,"[[5,0,2,2]]"'], r"line 2: boxes are"),
    "boxes of three": (["path,boxes", '0.png,"[[5,0,2]]"'], r"line 2: boxes are"),
    "attributes that are no object": (["path,attributes", "0.png,3"], r"line 2: attributes cannot be used: expected"),
    "unknown provenance": (["path,provenance", '0.png,"{""made_by"": 1}"'], r"line 2: provenance cannot be used"),
    "nested beyond measure": (["path,attributes", "0.png," + "[" * 100_000], r"line 2: attributes is not JSON"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_error_names_the_row(folder: Path, case: str) -> None:
    lines, message = ERRORS[case]
    with pytest.raises(InputError, match=message) as caught:
        load_manifest(csv(folder, *lines))
    assert "list" in str(caught.value)
    assert len(str(caught.value)) < 700


def test_parquet_errors_name_the_row(folder: Path) -> None:
    cases = [
        ({"label": [0.0, 1.0]}, r"row 1: label must be a class name or an integer; got 0.0"),
        ({"label": [0, -5]}, r"row 2: label is no class: .*; got -5"),
        ({"label": [True, False]}, r"row 1: label must be"),
        ({"unit_id": [[1], [2]]}, r"row 1: unit_id must be text"),
        ({"split": ["train", "x"]}, r"row 2: unknown split; known: .*; got 'x'"),
    ]
    for columns, message in cases:
        with pytest.raises(InputError, match=message):
            load_manifest(parquet(folder, path=["0.png", "1.png"], **columns))


@pytest.mark.parametrize(("name", "content"), [("a.csv", b"\xff\xfe\x00p"), ("a.parquet", b"PAR1")])
def test_unreadable_files(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=r"is not UTF-8 text|is not a readable Parquet file"):
        load_manifest(folder / name)


def test_a_zero_byte_in_a_path_spoils_that_row_only(folder: Path) -> None:
    (folder / "a.csv").write_bytes(b"path\nx\0y\n0.png\n")
    images = load_manifest(folder / "a.csv")
    assert "cannot be followed" in reason(images, 0)
    assert images[1].image.size == (4, 3)


def test_oversized_manifests_are_refused_before_they_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snellen.data.files.manifest_table.MAX_BYTES", 10)
    for path in (csv(folder, "path", "0.png", "1.png"), parquet(folder, path=["0.png"] * 50)):
        with pytest.raises(InputError, match=r"holds \d+ bytes, more than 10"):
            load_manifest(path)
    monkeypatch.setattr("snellen.data.files.manifest_table.MAX_BYTES", 10**9)
    monkeypatch.setattr("snellen.data.files.manifest_table.MAX_ROWS", 1)
    with pytest.raises(InputError, match="2 rows, more than 1"):
        load_manifest(parquet(folder, path=["0.png", "1.png"]))


def test_fingerprint_changes_with_any_label(folder: Path) -> None:
    first = load_manifest(csv(folder, "path,label", "0.png,a", "1.png,b")).fingerprint()
    assert load_manifest(csv(folder, "path,label", "0.png,a", "1.png,a")).fingerprint() != first
    assert load_manifest(csv(folder, "path,label", "0.png,a", "1.png,c")).fingerprint() != first
    assert load_manifest(csv(folder, "path,label", "0.png,a", "1.png,b")).fingerprint() == first
