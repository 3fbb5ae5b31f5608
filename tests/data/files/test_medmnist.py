"""Archives in the style of MedMNIST, sound and hostile."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.data.files.medmnist import load_npz

RNG = np.random.default_rng(0)


def archive(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def member(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def pack(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(f"{name}.npy", content)
    return path


def images(n: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (n, *shape)).astype(np.uint8)


TEST_PIXELS = images(5, 8, 8, 3)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    return archive(
        tmp_path / "pathmnist.npz",
        train_images=images(6, 8, 8, 3),
        train_labels=np.array([[0], [1], [2], [0], [1], [2]], np.uint8),
        val_images=images(4, 8, 8, 3),
        val_labels=np.array([[1], [1], [0], [0]], np.uint8),
        test_images=TEST_PIXELS,
        test_labels=np.array([[2], [1], [0], [2], [1]], np.uint8),
    )


def test_test_split_is_taken_and_named(three: Path) -> None:
    found = load_npz(three)
    assert found.ids == [f"test/{position:06d}" for position in range(5)]
    assert (found.name, found.split, found.class_names) == ("pathmnist (test split)", "test", ("0", "1", "2"))
    assert found.labels.tolist() == [2, 1, 0, 2, 1]
    assert np.array_equal(np.asarray(found.read(3)), TEST_PIXELS[3])
    with pytest.raises(InputError, match="holds test images"):
        found.for_fitting()


def test_other_splits_on_request(three: Path) -> None:
    train, val = load_npz(three, split="train"), load_npz(three, split="val")
    assert (len(train), train.split, train.name) == (6, "train", "pathmnist (train split)")
    assert (len(val), val.split, val.ids[0], val.labels.tolist()) == (4, "val", "val/000000", [1, 1, 0, 0])
    assert val.for_fitting() is val


def test_the_only_split_is_taken_whatever_it_is(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", val_images=images(2, 4, 4))
    found = load_npz(path)
    assert (found.name, found.split, found.class_names, found.has_labels) == ("a", "val", None, False)
    with pytest.raises(InputError, match=r"no images of split 'train'; choose one: a.npz#val"):
        load_npz(path, split="train")


def test_without_a_test_split_one_must_be_chosen(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", train_images=images(2, 4, 4), val_images=images(2, 4, 4))
    with pytest.raises(InputError, match=r"no images of split 'test'; choose one: a.npz#train, a.npz#val"):
        load_npz(path)


def test_grey_sixteen_bit_flat_labels_and_several_labels(tmp_path: Path) -> None:
    grey = archive(tmp_path / "g.npz", test_images=images(3, 4, 4), test_labels=np.array([0, 1, 1]))
    assert load_npz(grey).labels.tolist() == [0, 1, 1]
    for order in ("<u2", ">u2"):
        values = np.array([[[0, 257], [128, 65535]]], dtype=order)
        wide = archive(tmp_path / "w.npz", test_images=values)
        assert np.asarray(load_npz(wide).read(0))[..., 0].tolist() == [[0, 1], [0, 255]]
    bits = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 1]], np.int64)
    chest = archive(tmp_path / "c.npz", test_images=images(3, 4, 4), test_labels=bits)
    found = load_npz(chest, class_names=["a", "b", "c"])
    assert (found.column("labels"), found.class_names) == (bits.tolist(), ("a", "b", "c"))


def test_fortran_order_and_stored_members_are_read(tmp_path: Path) -> None:
    pixels = images(3, 4, 5)
    np.savez(tmp_path / "f.npz", test_images=np.asfortranarray(pixels))
    assert np.array_equal(np.asarray(load_npz(tmp_path / "f.npz").read(1))[..., 0], pixels[1])


def test_fingerprint_changes_with_any_label_or_pixel(tmp_path: Path) -> None:
    pixels, labels = images(3, 4, 4), np.array([0, 1, 0])
    first = load_npz(archive(tmp_path / "a.npz", test_images=pixels, test_labels=labels)).fingerprint()
    again = load_npz(archive(tmp_path / "b.npz", test_images=pixels, test_labels=labels)).fingerprint()
    assert first == again
    pixels[2, 3, 3] ^= 1
    assert load_npz(archive(tmp_path / "c.npz", test_images=pixels, test_labels=labels)).fingerprint() != first
    pixels[2, 3, 3] ^= 1
    labels[2] = 1
    assert load_npz(archive(tmp_path / "d.npz", test_images=pixels, test_labels=labels)).fingerprint() != first


# -- hostile archives --------------------------------------------------------------------------------------------------


class Explosive:
    """Runs code when unpickled."""

    fired: list[int] = []

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return Explosive.fired.append, (1,)


def test_objects_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "evil.npz"
    np.savez(path, test_images=np.array([Explosive()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"test_images.npy of evil.npz holds Python objects"):
        load_npz(path)
    path = tmp_path / "labels.npz"
    np.savez(path, test_images=images(1, 4, 4), test_labels=np.array([Explosive()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"test_labels.npy of labels.npz holds Python objects"):
        load_npz(path)
    assert Explosive.fired == []


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "bomb.npz", test_images=np.zeros((1000, 64, 64), np.uint8))
    assert path.stat().st_size < 10_000
    with pytest.raises(InputError, match=r"unpacks to 4096128 bytes, more than 1000000"):
        load_npz(path, max_array_bytes=1_000_000)


def header(shape: str, descr: str = "|u1") -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (118 - len(text) - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


HOSTILE = {
    "a header that announces terabytes": (header("(1000000000, 100, 100)") + b"x", "is damaged: uint8"),
    "a negative shape": (header("(-1, 4, 4)"), "is damaged"),
    "a header with code in it": (header("__import__('os').getpid()"), "not a readable .npz archive"),
    "too few values": (member(np.zeros((2, 4, 4), np.uint8))[:-1], "is damaged"),
    "too many values": (member(np.zeros((2, 4, 4), np.uint8)) + b"x", "is damaged"),
    "no array": (b"hello", "not a readable .npz archive"),
    "nothing": (b"", "not a readable .npz archive"),
    "an unknown version": (b"\x93NUMPY\x03\x00" + b"\0" * 200, r"format version \(3, 0\)"),
    "structures": (member(np.zeros(2, [("a", "u1")])), "expected uint8"),
    "dates": (member(np.zeros((2, 4, 4), "M8[s]")), "expected uint8"),
    "text": (member(np.full((2, 4, 4), "x")), "expected uint8"),
    "floats": (member(np.zeros((2, 4, 4), np.float32)), "pass bytes"),
    "signed bytes": (member(np.zeros((2, 4, 4), np.int8)), "expected uint8"),
    "one axis": (member(np.zeros(4, np.uint8)), r"expected \(n, h, w\)"),
    "no images": (member(np.zeros((0, 4, 4), np.uint8)), "holds no pixels"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_members_are_refused(tmp_path: Path, case: str) -> None:
    content, message = HOSTILE[case]
    with pytest.raises(InputError, match=message):
        load_npz(pack(tmp_path / "x.npz", test_images=content))


def test_labels_must_fit_the_images(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", test_images=images(3, 4, 4), test_labels=np.array([0, 1]))
    with pytest.raises(InputError, match=r"test_labels of a.npz: 2 labels for 3 images"):
        load_npz(path)
    path = archive(tmp_path / "b.npz", test_images=images(2, 4, 4), test_labels=np.array([0, 5]))
    with pytest.raises(InputError, match=r"class 5 is out of range for 2 class names"):
        load_npz(path, class_names=["a", "b"])


def test_other_archives_say_what_they_hold(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no train_images, val_images or test_images; it holds x, y"):
        load_npz(archive(tmp_path / "a.npz", x=np.zeros(1), y=np.zeros(1)))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as packed:
        packed.writestr("test_images", "not an array")
    with pytest.raises(InputError, match="it holds nothing"):
        load_npz(tmp_path / "b.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + b"\0" * 18])
def test_files_that_are_no_archives(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz"):
        load_npz(tmp_path / "a.npz")


def test_damaged_and_encrypted_archives(three: Path, tmp_path: Path) -> None:
    content = bytearray(three.read_bytes())
    with zipfile.ZipFile(three) as packed:
        place = packed.getinfo("test_images.npy").header_offset + 300
    content[place : place + 40] = b"\xff" * 40
    (tmp_path / "damaged.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"not a readable .npz archive"):
        load_npz(tmp_path / "damaged.npz")
    content = bytearray(three.read_bytes())
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        offset = 6 if mark == b"PK\x03\x04" else 8
        start = content.find(mark)
        while start >= 0:
            content[start + offset] |= 1
            start = content.find(mark, start + 4)
    (tmp_path / "encrypted.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"encrypted|not a readable"):
        load_npz(tmp_path / "encrypted.npz")
