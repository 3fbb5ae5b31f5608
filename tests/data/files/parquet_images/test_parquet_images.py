"""Parquet files with images inside: what columns mean, what is kept in memory, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.files import manifest_table
from snellen.data.files.decoding import DecodingLimits
from snellen.data.files.parquet_images import layout, loading
from snellen.data.files.parquet_images.loading import ParquetSource, load_parquet_images
from snellen.data.references import load_images
from tests.data.files.shard_making import STORED, grey, hugging_face, png, reason, write_parquet


def test_a_folder_as_datasets_writes_it(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("test", 3)):
        labels = [number % 2 for number in range(count - 1)] + [-1]
        pictures = [png(number) for number in range(count)]
        write_parquet(
            tmp_path / "data" / f"{split}-00000-of-00001.parquet", pictures, names=["cat", "dog"], label=labels
        )
    (tmp_path / "README.md").write_text("x")
    images = load_images(tmp_path)
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [0, 1, -1, 0, 1, 0, 1, 0, -1]
    assert images.column("split") == ["test"] * 3 + ["train"] * 6
    assert images.ids[:2] == ["test-00000-of-00001/000000", "test-00000-of-00001/000001"]
    assert [grey(images, number) for number in range(9)] == [0, 1, 2, 0, 1, 2, 3, 4, 5]
    only = load_images(f"{tmp_path}#train")
    assert (len(only), only.split) == (6, "train")
    assert only.name == f"{tmp_path.name} (train split)"


def test_a_plain_column_of_bytes(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [png(3), png(4)], binary=True, label=["dog", "cat"], unit_id=[7, None])
    images = load_images(path)
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [1, 0]
    assert images.column("unit_id") == ["7", None]
    assert [grey(images, 0), grey(images, 1)] == [3, 4]


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary()])
def test_other_names_of_columns(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"img": pa.array([png(3)], kind), "id": ["one"], "mask": ["x.png"], "other": [pa.scalar(b"y")]})
    pq.write_table(table, tmp_path / "a.parquet")
    images = load_images(tmp_path / "a.parquet")
    assert images.ids == ["one"]
    assert images.table.column_names == ["id"]
    assert grey(images, 0) == 3


def test_numbers_without_names(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [png(), png()], label=[0, 2])
    assert load_images(path).class_names == ("0", "1", "2")
    assert load_parquet_images(path, class_names=["a", "b", "c", "d"]).class_names == ("a", "b", "c", "d")
    with pytest.raises(InputError, match="class 2 is out of range for 2 class names"):
        load_parquet_images(path, class_names=["a", "b"])


def test_the_only_column_of_classes_is_the_label(tmp_path: Path) -> None:
    described = {"labels": {"_type": "ClassLabel", "names": ["a", "b"]}}
    table = pa.table({"image": pa.array([png()], pa.binary()), "labels": [1], "fine": [0]})
    pq.write_table(table.replace_schema_metadata(hugging_face(described)), tmp_path / "a.parquet")
    images = load_images(tmp_path / "a.parquet")
    assert (images.class_names, images.labels.tolist()) == (("a", "b"), [1])
    described["fine"] = {"_type": "ClassLabel", "names": ["x", "y"]}
    pq.write_table(table.replace_schema_metadata(hugging_face(described)), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"2 columns of classes \(fine, labels\) and none called 'label'"):
        load_images(tmp_path / "a.parquet")
    assert load_parquet_images(tmp_path / "a.parquet", label="fine").class_names == ("x", "y")
    with pytest.raises(InputError, match="has no column 'nothing'"):
        load_parquet_images(tmp_path / "a.parquet", label="nothing")


def test_a_manifest_and_a_folder_of_images_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "1.png").write_bytes(png(9))
    pq.write_table(pa.table({"path": ["x/1.png"], "image": [b"other"]}), tmp_path / "manifest.parquet")
    pq.write_table(pa.table({"thumbnail": [b"no picture"]}), tmp_path / "evidence.parquet")
    assert load_images(tmp_path / "manifest.parquet").ids == ["x/1.png"]
    assert load_images(tmp_path).ids == ["x/1.png"]
    with pytest.raises(InputError, match="has no column 'path'"):
        load_images(tmp_path / "evidence.parquet")


# -- memory, threads, identity -----------------------------------------------------------------------------------------


def counted(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Row groups as they are unpacked."""
    seen: list[tuple[int, int]] = []
    unpack = ParquetSource._unpacked

    def counting(self: ParquetSource, shard: int, group: int) -> object:
        seen.append((shard, group))
        return unpack(self, shard, group)

    monkeypatch.setattr(ParquetSource, "_unpacked", counting)
    return seen


def test_each_row_group_is_unpacked_once_in_order_and_little_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "a.parquet", [png(number) for number in range(12)], group=4)
    images = load_images(path)
    seen = counted(images, monkeypatch)
    assert [grey(images, number) for number in range(12)] == list(range(12))
    assert seen == [(0, 0), (0, 1), (0, 2)]
    assert grey(images, 0) == 0
    assert len(seen) == 3, "all are kept, they are small"
    images = load_images(path)
    images.source.kept_bytes = 1
    for index in (0, 4, 5, 0):
        grey(images, index)
    assert seen[3:] == [(0, 0), (0, 1), (0, 0)]
    assert len(images.source._groups) == 1


def test_threads_wait_for_one_that_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = load_images(write_parquet(tmp_path / "a.parquet", [png(number) for number in range(40)], group=10))
    seen = counted(images, monkeypatch)
    together = threading.Barrier(8)

    def read(index: int) -> int:
        if index < 8:
            together.wait()
        return grey(images, index)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(40))) == list(range(40))
    assert sorted(seen) == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_selection_and_a_second_opening_give_the_same(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [png(number) for number in range(9)], label=[0] * 9)
    images, again = load_images(path), load_images(path)
    assert images.fingerprint() == again.fingerprint()
    chosen = images.select(np.array([8, 1]))
    assert [grey(chosen, 0), grey(chosen, 1)] == [8, 1]
    assert chosen.content_hash(0) == images.content_hash(8) != images.content_hash(1)
    before, third = images.fingerprint(), load_images(path)
    write_parquet(path, [png(number + 1) for number in range(9)], label=[0] * 9)
    assert load_images(path).fingerprint() != before
    assert "has changed since it was indexed" in reason(third, "a/000005")


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_rows_without_bytes_are_rejected_by_name_and_paths_are_never_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(9))
    rows = [{"bytes": png(1), "path": None}, {"bytes": None, "path": str(secret)}, None, {"bytes": b"", "path": ""}]
    pq.write_table(pa.table({"image": pa.array(rows, STORED)}), tmp_path / "a.parquet")
    images = load_images(tmp_path / "a.parquet")
    assert grey(images, 0) == 1
    for row in (1, 2):
        assert reason(images, f"a/00000{row}") == "no bytes are stored for it; files that a row only names are not read"
    assert reason(images, "a/000003") == "the file is empty"


def test_too_large_images_and_row_groups_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", [png() + bytes(5000), png(2)], group=1)
    images = load_parquet_images(path, limits=DecodingLimits(max_bytes=1000))
    assert "more than 1000 (max_bytes)" in reason(images, "a/000000")
    monkeypatch.setattr(loading, "MAX_GROUP_BYTES", 1000)
    images = load_parquet_images(path)
    seen = counted(images, monkeypatch)
    assert "more than 1000; write smaller row groups" in reason(images, "a/000000")
    assert seen == []
    assert grey(images, 1) == 2


class Marked(pa.ExtensionType):
    """A type of its own."""

    def __init__(self) -> None:
        super().__init__(pa.binary(), "snellen.marked")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, content: bytes) -> Marked:
        raise AssertionError("the type was made")


def hidden_extension(name: bytes) -> pa.Schema:
    return pa.schema([pa.field("image", pa.binary(), metadata={b"ARROW:extension:name": name})])


@pytest.mark.parametrize("where", ["image", "beside", "inside"])
def test_extension_types_are_refused(tmp_path: Path, where: str) -> None:
    marked = pa.field("x", pa.binary(), metadata={b"ARROW:extension:name": b"code.to.run"})
    pictures = pa.array([png()], pa.binary())
    if where == "image":
        table = pa.table([pictures], schema=hidden_extension(b"code.to.run"))
    elif where == "beside":
        table = pa.table([pictures, pictures], schema=pa.schema([pa.field("image", pa.binary()), marked]))
    else:
        inside = pa.StructArray.from_arrays([pictures], fields=[marked])
        table = pa.table({"image": pictures, "more": inside})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"extension type code\.to\.run; only plain types"):
        load_images(tmp_path / "a.parquet")


def test_a_registered_extension_type_is_refused(tmp_path: Path) -> None:
    table = pa.table({"image": pa.ExtensionArray.from_storage(Marked(), pa.array([png()], pa.binary()))})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="extension type"):
        load_images(tmp_path / "a.parquet")


DESCRIBED = {
    "no list": ({"label": {"_type": "ClassLabel", "names": "cat"}}, "must be a list of texts"),
    "no texts": ({"label": {"_type": "ClassLabel", "names": [1, 2]}}, "must be a list of texts"),
    "twice": ({"label": {"_type": "ClassLabel", "names": ["a", "a"]}}, "or one twice"),
    "none": ({"label": {"_type": "ClassLabel", "names": []}}, "0 names of classes"),
    "half a character": ({"label": {"_type": "ClassLabel", "names": ["\ud800"]}}, "must be a list of texts"),
}


@pytest.mark.parametrize("case", DESCRIBED)
def test_names_of_classes_that_make_no_sense(tmp_path: Path, case: str) -> None:
    described, told = DESCRIBED[case]
    table = pa.table({"image": pa.array([png()], pa.binary()), "label": [0]})
    pq.write_table(table.replace_schema_metadata(hugging_face(described)), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=told):
        load_images(tmp_path / "a.parquet")


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"info": 3}', b'{"info": {"features": []}}', b"[" * 100_000, b"\xff"])
def test_a_description_that_datasets_does_not_write_names_nothing(tmp_path: Path, text: bytes) -> None:
    table = pa.table({"image": pa.array([png()], pa.binary()), "label": [0]})
    pq.write_table(table.replace_schema_metadata({b"huggingface": text}), tmp_path / "a.parquet")
    assert load_images(tmp_path / "a.parquet").class_names == ("0",)


def test_a_description_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_METADATA_BYTES", 100)
    table = pa.table({"image": pa.array([png()], pa.binary())})
    pq.write_table(table.replace_schema_metadata({b"huggingface": b" " * 101}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="its description has 101 bytes"):
        load_parquet_images(tmp_path / "a.parquet")


def test_columns_of_images_must_be_clear(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([None], STORED), "b": pa.array([None], STORED)}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"needs one column of images .*several: 'a', 'b'; call one of them 'image'"):
        load_images(tmp_path / "a.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="it has none"):
        load_parquet_images(tmp_path / "b.parquet")
    deep = pa.array([None], STORED)
    for _ in range(12):
        deep = pa.array([[None]], pa.list_(deep.type))
    pq.write_table(pa.table({"image": pa.array([png()], pa.binary()), "deep": deep}), tmp_path / "c.parquet")
    with pytest.raises(InputError, match="nested more than 8 deep"):
        load_images(tmp_path / "c.parquet")


def test_a_bad_shard_does_not_cost_the_others(tmp_path: Path) -> None:
    whole = write_parquet(tmp_path / "good.parquet", [png(1), png(2)], label=[0, 1]).read_bytes()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1" + bytes(500) + b"PAR1")
    (tmp_path / "cut.parquet").write_bytes(whole[:-20])
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "folder.parquet").mkdir()
    outside = write_parquet(tmp_path.parent / f"{tmp_path.name}-outside" / "x.parquet", [png()])
    (tmp_path / "link.parquet").symlink_to(outside)
    images = load_images(tmp_path)
    for name in ("bad", "cut", "empty"):
        assert reason(images, f"{name}.parquet").startswith("not a readable Parquet file")
    assert reason(images, "folder.parquet") == "not a file but a folder"
    assert reason(images, "link.parquet") == "the path leads out of its folder"
    assert images.labels[images.ids.index("good/000001")] == 1
    assert grey(images, images.ids.index("good/000001")) == 2


def test_shards_of_other_classes_are_not_mixed(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [png()], names=["a", "b"], label=[0])
    write_parquet(tmp_path / "b.parquet", [png()], names=["b", "a"], label=[0])
    with pytest.raises(InputError, match=r"b\.parquet names other classes"):
        load_images(tmp_path)


def test_nothing_usable_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="holds no usable images; not a readable Parquet file"):
        load_parquet_images(tmp_path)


def test_damaged_pages_spoil_their_row_group_only(tmp_path: Path) -> None:
    pictures = [png(number, (40, 30)) for number in range(8)]
    path = write_parquet(tmp_path / "a.parquet", pictures, group=4)
    metadata = pq.ParquetFile(path).metadata
    content = bytearray(path.read_bytes())
    place = metadata.row_group(0).column(0)
    first = place.dictionary_page_offset or place.data_page_offset
    content[first : first + 4] = b"\xff" * 4
    path.write_bytes(bytes(content))
    images = load_images(path)
    assert "row group 0 is damaged" in reason(images, "a/000000")
    assert grey(images, 5) == 5


def test_rows_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "MAX_ROWS", 3)
    write_parquet(tmp_path / "a.parquet", [png()] * 2)
    write_parquet(tmp_path / "b.parquet", [png()] * 2)
    with pytest.raises(InputError, match=r"b\.parquet: more than 3 rows in all"):
        load_images(tmp_path)


def test_what_is_said_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "MAX_BYTES", 100)
    path = write_parquet(tmp_path / "a.parquet", [png()] * 50, caption=[f"caption {number}" for number in range(50)])
    with pytest.raises(InputError, match="what stands beside the images unpacks to more than 100 bytes"):
        load_images(path)


def repeated(value: bytes, times: int, kind: pa.DataType) -> pa.Array:
    """One value many times, stored once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([value]).cast(kind))


@pytest.mark.parametrize("beside", ["image", "path"])
def test_texts_that_are_stored_once_and_stand_for_gigabytes_are_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: str
) -> None:
    monkeypatch.setattr(loading, "MAX_BYTES", 2**20)
    monkeypatch.setattr(manifest_table, "MAX_BYTES", 2**20)
    columns = {"caption": repeated(b"x" * 100_000, 50, pa.string()), beside: [png()] * 50}
    if beside == "path":
        columns["path"] = ["x.png"] * 50
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", store_schema=False)
    assert (tmp_path / "a.parquet").stat().st_size < 50_000
    with pytest.raises(InputError, match="unpacks to more than 1048576 bytes"):
        load_images(tmp_path / "a.parquet")


@pytest.mark.parametrize("structured", [False, True])
def test_an_image_that_is_stored_once_is_in_memory_once(tmp_path: Path, structured: bool) -> None:
    images = repeated(png(5) + bytes(1_000_000), 100, pa.binary())
    if structured:
        images = pa.StructArray.from_arrays([images, pa.nulls(100, pa.string())], names=["bytes", "path"])
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet", store_schema=False)
    images = load_images(tmp_path / "a.parquet")
    assert [grey(images, index) for index in (0, 99)] == [5, 5]
    assert images.content_hash(3) == images.content_hash(4)
    (group,) = images.source._groups.values()
    assert group.nbytes < 3_000_000


def test_wrong_rows_are_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [png(), png()], split=["test", "future"])
    with pytest.raises(InputError, match=r"a\.parquet, a/000001: unknown split; known: train.*; got 'future'"):
        load_images(path)
    assert json.dumps(load_images(write_parquet(path, [png()], split=["val"])).column("split")) == '["val"]'


@pytest.mark.parametrize("beside", ["image", "path"])
@pytest.mark.parametrize("times", [pa.array([2**31 - 1], pa.date32()), pa.array([10**18], pa.time64("us"))])
def test_times_beyond_those_of_python_are_an_error_that_names_the_file(
    tmp_path: Path, beside: str, times: pa.Array
) -> None:
    stored = {"image": pa.array([png()], pa.binary()), "path": ["x.png"]}[beside]
    pq.write_table(pa.table({beside: stored, "unit_id": times}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet.* not a readable Parquet file"):
        load_images(tmp_path / "a.parquet")


def test_a_damaged_footer_never_ends_the_process(tmp_path: Path) -> None:
    """Pyarrow ends the process when it is asked for the metadata of a column that is damaged in some ways."""
    path = write_parquet(tmp_path / "a.parquet", [png()], binary=True, label=[1])
    code = f"""
from pathlib import Path
from snellen.data.references import load_images
from snellen.core.errors import InputError, RejectedImageError
path = Path({str(path)!r})
good = path.read_bytes()
start = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
refused = 0
for place in range(start, start + 130):
    for step in (1, 2, 255):
        changed = bytearray(good)
        changed[place] = (changed[place] + step) % 256
        path.write_bytes(bytes(changed))
        try:
            load_images(path).read(0)
        except (InputError, RejectedImageError):
            refused += 1
print(refused)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) > 50
