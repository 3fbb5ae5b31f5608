"""Tar shards: what belongs together, what is read by its place, what is refused by name; nothing is unpacked."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.files.decoding import DecodingLimits
from snellen.data.files.folder import load_folder
from snellen.data.files.tar_shards import samples
from snellen.data.files.tar_shards.loading import load_tar
from snellen.data.references import load_images
from tests.data.files.shard_making import archive, grey, png, reason, special

FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


# -- good archives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_images_and_what_lies_beside_them(tmp_path: Path, form: str) -> None:
    path = archive(
        tmp_path / "a.tar",
        ("0000.png", png(10)), ("0000.cls", b"1\n"), ("0000.txt", "ein Käfer".encode()),
        ("./0001.PNG", png(20)), ("0001.json", json.dumps({"label": 0, "unit_id": 7, "text": "t", "id": 5}).encode()),
        ("0002.png", png(30)), ("0002.seg.png", png(31)), ("README", b"x"),
        form=FORMS[form],
    )  # fmt: skip
    images = load_images(f"tar:{path}")
    assert images.ids == ["a.tar/0000.png", "a.tar/0001.PNG", "a.tar/0002.png"]
    assert images.labels.tolist() == [1, 0, -1]
    assert images.class_names == ("0", "1")
    assert images.column("caption") == ["ein Käfer", "t", None]
    assert images.column("unit_id") == [None, "7", None]
    assert [grey(images, index) for index in range(3)] == [10, 20, 30]
    assert images.source.skipped == 2
    assert images.name == "a"


@pytest.mark.parametrize("form", ["gnu", "pax"])
@pytest.mark.parametrize("name", ["d/" * 90 + "x.png", "é" * 200 + ".png", "x" * 99 + ".png"])
def test_long_names(tmp_path: Path, form: str, name: str) -> None:
    second = name[:-5] + "b.png"
    images = load_tar(archive(tmp_path / "a.tar", (name, png(5)), (second, png(6)), form=FORMS[form]))
    assert images.ids == [f"a.tar/{name}", f"a.tar/{second}"]
    assert [grey(images, 0), grey(images, 1)] == [5, 6]


def test_names_of_classes(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", ("1.png", png()), ("1.cls", b"dog"), ("2.png", png()), ("2.cls", b"cat"))
    images = load_tar(path)
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [1, 0]
    numbered = load_tar(archive(tmp_path / "b.tar", ("1.png", png()), ("1.cls", b"1")), class_names=["cat", "dog", "x"])
    assert numbered.class_names == ("cat", "dog", "x")
    with pytest.raises(InputError, match="class 1 is out of range for 1 class names"):
        load_tar(tmp_path / "b.tar", class_names=["cat"])


def test_without_texts_folders_tell_classes_and_splits_as_in_a_folder(tmp_path: Path) -> None:
    folders = [f"{split}/{kind}" for split in ("train", "test") for kind in ("cat", "dog")]
    members = {f"{folder}/{n}.png": png(n) for folder in folders for n in (1, 2)}
    for name, content in members.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(content)
    folder = load_folder(tmp_path / "data")
    for prefix in ("", "data/", "./data/"):
        path = archive(tmp_path / "packed.tar", *sorted((prefix + name, one) for name, one in members.items()))
        images = load_tar(path)
        assert images.class_names == folder.class_names
        assert images.labels.tolist() == folder.labels.tolist()
        assert images.column("split") == folder.column("split")
        assert [images.content_hash(n) for n in range(8)] == [folder.content_hash(n) for n in range(8)]
    flat = load_tar(archive(tmp_path / "flat.tar", ("data/1.png", png()), ("data/2.png", png())))
    assert flat.class_names is None
    beside = load_tar(archive(tmp_path / "beside.tar", ("1.png", png()), ("a/2.png", png()), ("b/3.png", png())))
    assert reason(beside, "beside.tar/1.png").startswith("lies beside the class folders")


def test_shards_of_a_folder_or_a_range_in_order(tmp_path: Path) -> None:
    for number in (2, 0, 1, 10):
        archive(tmp_path / f"train-{number:04d}.tar", (f"{number}.png", png(number)), (f"{number}.cls", b"0"))
    archive(tmp_path / "val-0000.tar", ("9.png", png(9)))
    (tmp_path / "notes.txt").write_text("x")
    images = load_images(f"tar:{tmp_path}")
    assert [grey(images, n) for n in range(5)] == [0, 1, 2, 10, 9]
    assert images.column("split") == ["train"] * 4 + ["val"]
    assert load_images(f"tar:{tmp_path}#val").ids == ["val-0000.tar/9.png"]
    ranged = load_images(f"tar:{tmp_path}/train-{{0001..0002}}.tar")
    assert ranged.ids == ["train-0001.tar/1.png", "train-0002.tar/2.png"]
    assert ranged.split == "train"
    with pytest.raises(InputError, match=r"lacks 1 of 4 shards; the first is train-0003\.tar"):
        load_images(f"tar:{tmp_path}/train-{{0000..0003}}.tar")
    for wrong in ("{3..1}", "{0..99999999}"):
        with pytest.raises(InputError, match="must rise"):
            load_images(f"tar:{tmp_path}/train-{wrong}.tar")
    for nothing in ("tar:", "tar:#train"):
        with pytest.raises(InputError, match="names no shards; give a file"):
            load_images(nothing)
    with pytest.raises(InputError, match=r"given as a file, a folder, or with a range .*train-\{0000\.\.0146\}\.tar"):
        load_images(f"tar:{tmp_path}/nothing.tar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no files ending in"):
        load_images(f"tar:{tmp_path}/empty")


def test_a_file_is_taken_without_the_scheme_too(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", ("1.png", png(3)))
    assert grey(load_images(path), 0) == 3


def test_selection_threads_and_a_second_opening_give_the_same(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", *((f"{n:03d}.png", png(n)) for n in range(60)))
    images, again = load_tar(path), load_tar(path)
    assert images.ids == again.ids
    assert images.fingerprint() == again.fingerprint()
    chosen = images.select([50, 3, 3 + 4])
    assert [grey(chosen, n) for n in range(3)] == [50, 3, 7]
    order = np.random.default_rng(0).permutation(60).tolist()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda index: grey(images, index), order)) == order


def test_contents_are_in_the_fingerprint(tmp_path: Path) -> None:
    one = load_tar(archive(tmp_path / "a.tar", ("1.png", png(1)))).fingerprint()
    assert load_tar(archive(tmp_path / "a.tar", ("1.png", png(2)))).fingerprint() != one


def test_a_shard_that_changed_is_not_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", ("1.png", png(1)), ("2.png", png(2)))
    images = load_tar(path)
    assert grey(images, 1) == 2
    path.unlink()
    archive(path, ("2.png", png(2)), ("1.png", png(1)))
    assert reason(images, "a.tar/2.png") == "its shard has changed since it was indexed; load the images again"
    path.unlink()
    os.mkfifo(path)
    assert reason(images, "a.tar/2.png") == "not a file but a named pipe"


# -- what is refused by name -------------------------------------------------------------------------------------------


def mixed(tmp_path: Path, *members, form: int = tarfile.PAX_FORMAT) -> ImageSet:
    """An archive of a good image first and last, and others between."""
    between = [("first.png", png(1)), *members, ("last.png", png(2))]
    images = load_tar(archive(tmp_path / "a.tar", *between, form=form))
    for name, value in (("first.png", 1), ("last.png", 2)):
        assert grey(images, images.ids.index(f"a.tar/{name}")) == value
    return images


REFUSED = {
    "../../out.png": "its name leads out of the archive",
    "cat/../../out.png": "its name leads out of the archive",
    "..\\out.png": "its name leads out of the archive",
    "/etc/passwd.png": "its name is absolute",
    "C:\\x.png": "its name is absolute",
    "x.pyd": "a file ending in .pyd may run code when it is",
    "x.pkl": "a file ending in .pkl may run code",
    "x.pickle": "a file ending in .pickle may run code",
    "x.pth": "a file ending in .pth may run code",
    "x.emb.npy": "a file ending in .npy may run code",
    "inner.tar": "an archive, or a packed file, inside the archive",
    "inner.tar.gz": "an archive, or a packed file, inside the archive",
    "x.zip": "an archive, or a packed file, inside the archive",
}


@pytest.mark.parametrize("name", REFUSED)
def test_members_that_are_never_read_are_named(tmp_path: Path, name: str) -> None:
    images = mixed(tmp_path, (name, b"x"))
    assert REFUSED[name] in reason(images, f"a.tar/{name}")
    assert len(images) == 3


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (tarfile.SYMTYPE, "a link"), (tarfile.LNKTYPE, "a hard link"), (tarfile.FIFOTYPE, "a named pipe"),
        (tarfile.CHRTYPE, "a device"), (tarfile.BLKTYPE, "a device"), (b"M", "unknown kind"),
    ],
)  # fmt: skip
def test_what_is_no_file_is_named(tmp_path: Path, kind: bytes, told: str) -> None:
    images = mixed(tmp_path, special("x.png", kind, "/etc/passwd"))
    assert told in reason(images, "a.tar/x.png")


def test_equal_names_and_keys(tmp_path: Path) -> None:
    images = mixed(
        tmp_path, ("x.png", png()), ("x.png", png()), ("y.png", png()), ("y.jpg", png()), ("z.1.png", png()),
        ("z.2.png", png()), ("w.1.png", png(9)), ("v.png", png()), ("v.cls", b"1"), ("v.cls", b"2"),
    )  # fmt: skip
    assert reason(images, "a.tar/x.png") == "several members have this name"
    for name in ("y.png", "y.jpg", "z.1.png", "z.2.png"):
        assert "2 images have its key" in reason(images, f"a.tar/{name}")
    assert grey(images, images.ids.index("a.tar/w.1.png")) == 9
    assert reason(images, "a.tar/v.png") == "several members are the .cls beside it"


def test_names_that_are_written_alike_stay_apart(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x\udce9.png")
    images = mixed(tmp_path, ("x\\xe9.png", png(7)), info)
    assert images.ids[1:3] == ["a.tar/x\\xe9.png", "a.tar/x\\xe9.png (2)"]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    images = mixed(tmp_path, ("._x.png", b"mac"), (".git/x.png", b"x"), special("d", tarfile.DIRTYPE))
    assert len(images) == 2
    assert images.source.skipped == 2


SPOILT = {
    "not JSON": ({"x.json": b"{"}, "the .json beside it cannot be used"),
    "no object": ({"x.json": b"[1]"}, "it is no JSON object"),
    "nested without end": ({"x.json": b"[" * 200_000}, "the .json beside it cannot be used"),
    "not UTF-8": ({"x.txt": b"\xff"}, "not UTF-8 text"),
    "too long": ({"x.txt": b"x" * (samples.MAX_TEXT_BYTES + 1)}, "has 1048577 bytes, more than 1048576"),
    "two labels": ({"x.cls": b"1", "x.json": b'{"label": 2}'}, "texts beside it differ in label"),
    "a split": ({"x.json": b'{"split": "Jane Doe"}'}, "this image: unknown split; known: train"),
    "a class of -7": ({"x.json": b'{"label": -7}'}, "label is no class"),
    "an enormous class": ({"x.cls": b"9" * 30}, "is this an identifier"),
    "a list as a label": ({"x.json": b'{"label": ["Jane Doe"]}'}, "must be a class name or an integer"),
    "boxes": ({"x.json": b'{"boxes": [["Jane Doe"]]}'}, "boxes are"),
    "boxes beyond all numbers": ({"x.json": b'{"boxes": [[0, 0, 1%s, 1]]}' % (b"0" * 400)}, "boxes are"),
    "boxes without end": ({"x.json": b'{"boxes": [[0, 0, Infinity, 1]]}'}, "boxes are"),
    "boxes of truth": ({"x.json": b'{"boxes": [[false, false, true, true]]}'}, "boxes are"),
    "half a character": ({"x.json": b'{"caption": "Jane Doe\\ud800"}'}, "half of a character"),
    "provenance": ({"x.json": b'{"provenance": {"origin": "Jane Doe"}}'}, "provenance cannot be used"),
    "a field of provenance": ({"x.json": b'{"provenance": {"Jane Doe": 1}}'}, "provenance cannot be used"),
    "a list as a unit": ({"x.json": b'{"unit_id": ["Jane Doe"]}'}, "unit_id must be text"),
    "text for a list": ({"x.json": b'{"boxes": "Jane Doe"}'}, "boxes is not JSON"),
    "an object for a list": ({"x.json": b'{"boxes": {"Jane Doe": 1}}'}, "boxes must be a list"),
    "labels": ({"x.json": b'{"labels": ["Jane Doe"]}'}, "labels must be"),
    "number and name": (
        {"x.json": b'{"label": 1, "bag_label": "Jane Doe"}'},
        "label holds numbers, and the other of label and bag_label names of classes; write both alike",
    ),
    "attributes": ({"x.json": b'{"attributes": "Jane Doe"}'}, "attributes is not JSON"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_texts_that_cannot_be_used_spoil_their_image_only(tmp_path: Path, case: str) -> None:
    beside, told = SPOILT[case]
    images = mixed(tmp_path, ("x.png", png()), *beside.items(), ("first.cls", b"1"))
    said = reason(images, "a.tar/x.png")
    assert told in said
    assert "Jane" not in said, "reasons are in reports, and a value may be a name"
    assert "-7" not in said
    assert "999" not in said
    assert images.labels[images.ids.index("a.tar/first.png")] == 1


def test_labels_of_two_lengths_are_an_error(tmp_path: Path) -> None:
    members = [("1.png", png()), ("1.json", b'{"labels": [0, 1]}'), ("2.png", png()), ("2.json", b'{"labels": [1]}')]
    with pytest.raises(InputError, match=r"a\.tar/2\.png: labels must be 2 values"):
        load_tar(archive(tmp_path / "a.tar", *members))


def test_all_spoilt_is_an_error_that_says_why(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", ("1.png", png()), ("1.cls", b"-7"))
    with pytest.raises(InputError, match=r"label is no class: .*; got -7"):
        load_tar(path)
    path = archive(tmp_path / "b.tar", ("1.pyd", b"x"))
    with pytest.raises(InputError, match=r"holds no usable images; b\.tar/1\.pyd: not read"):
        load_tar(path)


def test_too_large_members_are_not_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", ("1.png", png() + bytes(2000)), ("2.png", png()))
    images = load_tar(path, limits=DecodingLimits(max_bytes=1000))
    assert "more than 1000 (max_bytes)" in reason(images, "a.tar/1.png")
    told = "rejected: " + reason(images, "a.tar/1.png")
    assert images.content_hash(0) == hashlib.sha256(told.encode()).hexdigest(), "its bytes are not hashed either"
    assert images.read(1).size == (4, 3)
