"""Headers of tar archives that are damaged or made to do harm: what is told, and what is read all the same."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.tar_shards import headers, loading
from snellen.data.files.tar_shards.headers import read_members
from snellen.data.files.tar_shards.loading import load_tar
from snellen.data.references import load_images
from tests.data.files.shard_making import END, archive, grey, header, padded, png, raw, reason, special, tar_bytes

GOOD = header(b"good.png", len(png(1))) + padded(png(1))
NEXT = header(b"next.png", len(png(2))) + padded(png(2))
LONG = b"x" * (headers.MAX_EXTENDED_BYTES + 1)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return header(b"pax", len(records), kind) + padded(records)


DAMAGED = {
    "negative size": (header(b"x.png", b"\xff" * 12), "the size is no number, or below 0"),
    "size of signs": (header(b"x.png", b"-0000000001\0"), "the size is no number"),
    "base 256 beyond all disks": (header(b"x.png", b"\x80" + b"\x7f" * 11), "would end"),
    "size beyond the end": (header(b"x.png", 8**10), "would end"),
    "wrong checksum": (b"y" + header(b"x.png", 0)[1:], "its checksum is wrong"),
    "text": (b"<script>" * 64, "damaged at byte"),
    "half a header": (header(b"x.png", 0)[:300], "it ends here"),
    "extended header beyond the end": (header(b"x", 8**9, b"x"), "an extended header would end"),
    "no end mark": (b"", "it ends without an end mark"),
    "one name for all": (pax(b"17 path=same.png\n", b"g"), "one name or size to all"),
    "something behind the end": (END + NEXT + END, "more follows behind the end mark"),
    "a program behind the end": (END + b"PK\x03\x04" + bytes(508), "more follows behind the end mark"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_archive_gives_what_came_before_and_a_row_that_says_so(tmp_path: Path, case: str) -> None:
    broken, told = DAMAGED[case]
    images = load_tar(raw(tmp_path / "a.tar", GOOD, broken))
    assert grey(images, images.ids.index("a.tar/good.png")) == 1
    assert told in reason(images, "a.tar")


SPOILS_ONE = {
    "bomb of a GNU name": header(b"long", len(LONG), b"L") + padded(LONG),
    "bomb of a pax header": pax(LONG),
    "pax records that lie": pax(b"99 path=x\n"),
    "pax record without end": pax(b"10 path=abcdefghijk"),
    "pax record of length 0": pax(b"0 path=x\n"),
    "pax size of letters": pax(b"14 size=-1000\n"),
    "pax sparse": pax(b"22 GNU.sparse.major=1\n"),
}


@pytest.mark.parametrize("case", SPOILS_ONE)
def test_bad_extended_headers_spoil_one_member(tmp_path: Path, case: str) -> None:
    images = load_tar(raw(tmp_path / "a.tar", GOOD, SPOILS_ONE[case], header(b"x.png", 0), NEXT, END))
    assert images.ids[:2] == ["a.tar/good.png", "a.tar/next.png"]
    assert [grey(images, 0), grey(images, 1)] == [1, 2]
    assert "extended header" in reason(images, "a.tar/x.png") or "sparse" in reason(images, "a.tar/x.png")


def test_sparse_files_are_refused_and_stepped_over(tmp_path: Path) -> None:
    listed = header(b"x.png", 512, b"S", at_482=b"\1")
    more = bytes(504) + b"\1" + bytes(7), bytes(512)
    images = load_tar(raw(tmp_path / "a.tar", GOOD, listed, *more, bytes(512), NEXT, END))
    assert "sparse" in reason(images, "a.tar/x.png")
    assert grey(images, 1) == 2


def test_a_name_longer_than_any_path_is_cut(tmp_path: Path) -> None:
    name = b"n" * (headers.MAX_NAME_BYTES + 1)
    long = header(b"long", len(name), b"L") + padded(name)
    images = load_tar(raw(tmp_path / "a.tar", GOOD, long, header(b"x.png", 0), END))
    cut = next(one for one in images.ids if one != "a.tar/good.png")
    assert len(cut) < 300
    assert "its name has 4097 bytes" in reason(images, cut)


def test_a_name_with_a_zero_byte_is_refused(tmp_path: Path) -> None:
    images = load_tar(
        raw(tmp_path / "a.tar", GOOD, pax(b"17 path=ab\0cd.png\n".replace(b"17", b"18")), header(b"x", 0), END)
    )
    assert "zero byte" in reason(images, "a.tar/ab\0cd.png")


def test_a_size_in_a_pax_header_counts(tmp_path: Path) -> None:
    content = png(7)
    said = pax(b"13 size=%04d\n" % len(content))
    images = load_tar(raw(tmp_path / "a.tar", said, header(b"x.png", 1), padded(content), END))
    assert grey(images, 0) == 7


@pytest.mark.parametrize("magic", [b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"])
def test_compressed_archives_are_refused_with_the_way_to_unpack_them(tmp_path: Path, magic: bytes) -> None:
    path = raw(tmp_path / "a.tar.gz", magic + bytes(600))
    with pytest.raises(InputError, match=r"compressed by \w+, .*unpack it once, with \w*un\w+"):
        load_images(path)
    whole = raw(tmp_path / "b.tgz", gzip.compress(tar_bytes({"1.png": png()})))
    with pytest.raises(InputError, match="compressed by gzip"):
        load_images(whole)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 2000, bytes(1024)])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="holds no usable images"):
        load_tar(raw(tmp_path / "a.tar", content))


def test_a_bad_shard_does_not_cost_the_others(tmp_path: Path) -> None:
    archive(tmp_path / "b.tar", ("1.png", png(1)))
    raw(tmp_path / "a.tar", b"x" * 2000)
    os.mkfifo(tmp_path / "c.tar")
    (tmp_path / "d.tar").mkdir()
    outside = archive(tmp_path.parent / f"{tmp_path.name}-outside" / "x.tar", ("secret.png", png()))
    (tmp_path / "e.tar").symlink_to(outside)
    images = load_tar(tmp_path)
    assert images.ids == ["a.tar", "b.tar/1.png", "c.tar", "d.tar", "e.tar"]
    assert grey(images, 1) == 1
    told = [reason(images, one) for one in ("a.tar", "c.tar", "d.tar", "e.tar")]
    assert told == [
        "not a tar archive", "not a file but a named pipe", "not a file but a folder",
        "the path leads out of its folder",
    ]  # fmt: skip


def test_a_linked_archive_may_be_given_itself(tmp_path: Path) -> None:
    archive(tmp_path / "store" / "x.tar", ("1.png", png(1)))
    (tmp_path / "latest.tar").symlink_to("store/x.tar")
    assert grey(load_tar(tmp_path / "latest.tar"), 0) == 1


def test_members_have_a_limit_over_all_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "MAX_MEMBERS", 3)
    archive(tmp_path / "a.tar", ("1.png", png()), ("2.png", png()), special("d", tarfile.DIRTYPE))
    archive(tmp_path / "b.tar", ("3.png", png()))
    assert len(load_tar(tmp_path)) == 3
    archive(tmp_path / "b.tar", ("3.png", png()), ("4.txt", b""))
    with pytest.raises(InputError, match="more than 3 members in all"):
        load_tar(tmp_path)


def test_headers_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "MAX_HEADERS", 5)
    content = pax(b"11 a=bcdef\n") * 6 + GOOD + END
    with pytest.raises(RejectedImageError, match="more than 5 headers"):
        list(read_members(io.BytesIO(content), len(content)))


def test_texts_have_a_limit_over_all_shards(tmp_path: Path) -> None:
    index = loading._Index(budget=5)
    archive(tmp_path / "a.tar", ("1.txt", b"12345"))
    archive(tmp_path / "b.tar", ("1.txt", b"1"))
    first, second = loading.find_shards(str(tmp_path), ".tar")
    index.add(first)
    with pytest.raises(InputError, match="texts beside the images"):
        index.add(second)


def test_every_cut_is_reported(tmp_path: Path) -> None:
    whole = tar_bytes([("1.png", png(1)), ("1.cls", b"1"), ("2.png", png(2)), ("é" * 80 + ".png", png(3))])
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for cut in range(1536, end + 1, 256):
        images = load_tar(raw(tmp_path / "a.tar", whole[:cut]))
        assert "a.tar" in images.ids, cut
    assert "a.tar" not in load_tar(raw(tmp_path / "a.tar", whole)).ids


def test_nothing_is_written(tmp_path: Path) -> None:
    path = archive(tmp_path / "in" / "a.tar", ("../x.png", png()), ("/tmp/snellen-never.png", png()), ("1.png", png()))
    before = sorted(tmp_path.rglob("*"))
    images = load_tar(path)
    images.fingerprint()
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/snellen-never.png").exists()


SEED = tar_bytes(
    [("a.png", png(1)), ("a.cls", b"1"), ("é" * 80 + ".png", png(2)), special("l.png", tarfile.SYMTYPE, "x")]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), max_size=8), st.integers(0, len(SEED)))
def test_changed_archives_are_read_or_refused_never_anything_else(changes: list[tuple[int, int]], cut: int) -> None:
    changed = bytearray(SEED)
    for place, value in changes:
        changed[place] = value
    content = bytes(changed[:cut])
    try:
        for member in read_members(io.BytesIO(content), len(content)):
            assert member.problem is not None or member.offset + member.size <= len(content)
    except RejectedImageError:
        pass
