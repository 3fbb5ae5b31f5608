"""IDX files, sound, damaged and hostile."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.data.files import idx
from snellen.data.files.idx import holds_idx, load_idx, read_idx
from snellen.data.references import load_images

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
LABELS = np.array([2, 0, 1, 1, 2], dtype=np.uint8)


def encoded(values: np.ndarray, *, code: int = 8, lengths: tuple[int, ...] | None = None) -> bytes:
    """Written by hand: two zero bytes, type, number of axes, lengths in big-endian order, values."""
    sizes = values.shape if lengths is None else lengths
    header = bytes([0, 0, code, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
    return header + values.tobytes()


def write(folder: Path, *, ending: str = "") -> Path:
    """Three training and two test images."""
    for part, rows in (("train", slice(0, 3)), ("t10k", slice(3, 5))):
        for name, values in (("images-idx3", PIXELS), ("labels-idx1", LABELS)):
            content = encoded(values[rows])
            path = folder / f"{part}-{name}-ubyte{ending}"
            path.write_bytes(gzip.compress(content) if ending else content)
    return folder


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_both_parts_plain_and_packed(tmp_path: Path, ending: str) -> None:
    write(tmp_path, ending=ending)
    train = load_idx(tmp_path, split="train", class_names=["a", "b", "c"])
    assert train.ids == ["train/000000", "train/000001", "train/000002"]
    assert (train.split, train.class_names, train.labels.tolist()) == ("train", ("a", "b", "c"), [2, 0, 1])
    assert train.column("split") == ["train"] * 3
    shown = np.asarray(train.read(1))
    assert shown.shape == (6, 4, 3)
    assert (shown == PIXELS[1][:, :, None]).all()
    test = load_idx(tmp_path)
    assert (test.split, test.labels.tolist(), test.name) == ("test", [1, 2], f"{tmp_path.name} (test split)")
    assert test.class_names == ("0", "1", "2")
    assert load_idx(tmp_path, name="mine").name == "mine"


def test_a_folder_by_reference(tmp_path: Path) -> None:
    write(tmp_path, ending=".gz")
    assert holds_idx(tmp_path)
    assert load_images(tmp_path).ids == ["test/000000", "test/000001"]
    assert load_images(f"{tmp_path}#test").split == "test"
    train = load_images(f"{tmp_path}#train", name="mine")
    assert (train.split, len(train), train.name) == ("train", 3, "mine")
    with pytest.raises(InputError, match="splits train and test, not 'val'"):
        load_images(f"{tmp_path}#val")


def test_another_folder_is_none_of_these(tmp_path: Path) -> None:
    assert not holds_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"")
    assert not holds_idx(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"")
    assert holds_idx(tmp_path)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / name).unlink()
    with pytest.raises(InputError, match=rf"holds neither {name}\.gz nor {name}"):
        load_idx(tmp_path, split="train")
    assert len(load_idx(tmp_path)) == 2


GOOD = encoded(PIXELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an IDX file of bytes"),
        (b"\0\0\x08", "is not an IDX file of bytes"),
        (b"\x89PNG" + GOOD, "is not an IDX file of bytes"),
        (encoded(PIXELS, code=0x0D), "is not an IDX file of bytes"),
        (encoded(PIXELS, lengths=()), "is not an IDX file of bytes"),
        (encoded(PIXELS, lengths=(1, 1, 5, 6, 4)), "is not an IDX file of bytes"),
        (GOOD[:9], "ends within its 3 lengths"),
        (GOOD[:-1], r"is damaged: \(5, 6, 4\) needs 120 bytes"),
        (GOOD + b"x", r"is damaged: \(5, 6, 4\) needs 120 bytes"),
        (encoded(PIXELS, lengths=(2**32 - 1, 28, 28)), r"announces \d+ bytes, more than"),
        (encoded(PIXELS[:0], lengths=(2**32 - 1, 0, 2**31)), "holds no values"),
        (encoded(PIXELS[:0], lengths=(0, 28, 28)), "holds no values"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_contents(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    path = tmp_path / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=message):
        read_idx(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: GOOD,  # not packed at all
        lambda packed: packed[:-12],  # cut off
        lambda packed: packed[:20] + bytes([packed[20] ^ 255]) + packed[21:],
        lambda packed: packed[:-8] + bytes(8),  # another checksum
    ],
)
def test_damaged_packing(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(damage(gzip.compress(GOOD)))
    with pytest.raises(InputError, match=r"file\.gz (cannot be read|is damaged|is not an IDX)"):
        read_idx(path)


def test_what_is_too_large_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "MAX_ARRAY_BYTES", math.prod(PIXELS.shape))
    (tmp_path / "file").write_bytes(GOOD)
    assert (read_idx(tmp_path / "file") == PIXELS).all()
    monkeypatch.setattr(idx, "MAX_ARRAY_BYTES", math.prod(PIXELS.shape) - 1)
    (tmp_path / "file").write_bytes(GOOD[:16])  # the values are not even there
    with pytest.raises(InputError, match="announces 120 bytes, more than 119"):
        read_idx(tmp_path / "file")


def test_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_idx(tmp_path / "nowhere")


def test_labels_of_another_number(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(encoded(LABELS))
    with pytest.raises(InputError, match="5 labels for 2 images"):
        load_idx(tmp_path)
    with pytest.raises(InputError, match="class 2 is out of range for 2 class names"):
        load_idx(tmp_path, split="train", class_names=["a", "b"])
