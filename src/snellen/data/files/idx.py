"""IDX files, in which MNIST, Fashion-MNIST, KMNIST and EMNIST come: a folder with images and labels of two parts."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.data.files.arrays import array_set, image_array

#: Largest array that is unpacked, bytes. EMNIST's largest part is 0.64e9.
MAX_ARRAY_BYTES = 2 * 2**30

#: Part of the file names, by split.
PARTS: dict[Split, str] = {"train": "train", "test": "t10k"}


def load_idx(
    folder: Path, *, split: Split = "test", class_names: Sequence[str] | None = None, name: str | None = None
) -> ImageSet:
    """Read one part of a folder: ``train-images-idx3-ubyte``, ``t10k-labels-idx1-ubyte`` …, with or without .gz.

    Ids are "train/000017".

    Raises:
        InputError: a file is missing, damaged or too large, or the part is neither train nor test.
    """
    if split not in PARTS:
        raise InputError(f"{folder}: IDX files have the splits {' and '.join(PARTS)}, not {split!r}")
    pixels = read_idx(_file(folder, f"{PARTS[split]}-images-idx3-ubyte"))
    labels = read_idx(_file(folder, f"{PARTS[split]}-labels-idx1-ubyte"))
    return array_set(
        image_array(pixels, what=f"{split} images of {folder.name}"),
        labels,
        [f"{split}/{position:06d}" for position in range(len(pixels))],
        name=name or f"{folder.name} ({split} split)",
        class_names=class_names,
        what=f"{split} labels of {folder.name}",
        split=split,
    )


def holds_idx(folder: Path) -> bool:
    """Whether a folder looks like one of these."""
    names = [f"{part}-images-idx3-ubyte" for part in PARTS.values()]
    return any((folder / f"{name}{ending}").is_file() for name in names for ending in (".gz", ""))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a file of bytes: two zero bytes, type 8, number of axes, their lengths (big-endian), values.

    Raises:
        InputError: not such a file, damaged, or larger than :data:`MAX_ARRAY_BYTES`.
    """
    try:
        with path.open("rb") as stream:
            if path.suffix == ".gz":
                with gzip.open(stream) as unpacked:
                    return _read(unpacked, path)
            return _read(stream, path)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _read(stream: IO[bytes] | gzip.GzipFile, path: Path) -> NDArray[np.uint8]:
    magic = stream.read(4)
    if len(magic) != 4 or magic[:3] != b"\0\0\x08" or not 1 <= (axes := magic[3]) <= 4:
        raise InputError(f"{path} is not an IDX file of bytes")
    header = stream.read(4 * axes)
    if len(header) != 4 * axes:
        raise InputError(f"{path} is damaged: it ends within its {axes} lengths")
    shape = tuple(int.from_bytes(header[start : start + 4], "big") for start in range(0, 4 * axes, 4))
    size = math.prod(shape)
    if not size:
        raise InputError(f"{path} holds no values: its axes have lengths {shape}")
    if size > MAX_ARRAY_BYTES:
        raise InputError(f"{path} announces {size} bytes, more than {MAX_ARRAY_BYTES}")
    content = stream.read(size + 1)
    if len(content) != size:
        raise InputError(f"{path} is damaged: {shape} needs {size} bytes")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _file(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise InputError(f"{folder} holds neither {name}.gz nor {name}")
