"""NumPy archives in the style of MedMNIST: ``{train,val,test}_{images,labels}`` in one ``.npz`` file."""

from __future__ import annotations

import math
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.data.files.arrays import array_set, image_array
from snellen.data.files.decoding import SIXTEEN_BIT
from snellen.data.files.splits import SPELLINGS

#: Largest array that is unpacked, bytes. PathMNIST's test images of 224 pixels are 1.1e9.
MAX_ARRAY_BYTES = 4 * 2**30

_KEYS: dict[Split, tuple[str, ...]] = {
    split: tuple(spelling for spelling, meant in SPELLINGS.items() if meant == split)
    for split in ("train", "val", "test")
}


def load_npz(
    path: Path,
    *,
    split: Split | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    max_array_bytes: int = MAX_ARRAY_BYTES,
    grey_range: tuple[int, int] = SIXTEEN_BIT,
) -> ImageSet:
    """Read one split of an archive. Ids are "test/000017".

    Images are uint8 or uint16, (n, h, w) or (n, h, w, 3); labels integers (n,) or (n, 1), or 0/1 (n, k)
    for several labels per image. Labels may be missing.

    Args:
        path: the archive.
        split: which split; None takes the only one, or ``test`` if there are several (and says so in the name).
        class_names: names of the classes; None names them "0" … "k−1".
        name: shown in reports.
        max_array_bytes: arrays that would unpack to more are refused before anything is unpacked.
        grey_range: values of black and white in uint16 images.

    Raises:
        InputError: not such an archive, damaged, too large, or holding anything but plain arrays of numbers.
    """
    try:
        with path.open("rb") as stream:
            with zipfile.ZipFile(stream) as archive:
                members = {
                    info.filename.removesuffix(".npy"): info
                    for info in archive.infolist()
                    if info.filename.endswith(".npy")
                }
                chosen, prefix, note = _choose(path, list(members), split)
                wanted = [key for key in (f"{prefix}_images", f"{prefix}_labels") if key in members]
                for key in wanted:
                    _check_member(path, archive, members[key], max_array_bytes)
            arrays = _read(stream, wanted)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a readable .npz archive: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    pixels = image_array(arrays[f"{prefix}_images"], what=f"{prefix}_images of {path.name}")
    return array_set(
        pixels,
        arrays.get(f"{prefix}_labels"),
        [f"{chosen}/{position:06d}" for position in range(len(pixels))],
        name=name or f"{path.stem}{note}",
        class_names=class_names,
        what=f"{prefix}_labels of {path.name}",
        split=chosen,
        grey_range=grey_range,
    )


def _choose(path: Path, members: Sequence[str], split: Split | None) -> tuple[Split, str, str]:
    """The split to read, how it is spelled in the archive, and what to add to the name."""
    present = {
        found: spelling
        for found, spellings in _KEYS.items()
        for spelling in spellings
        if f"{spelling}_images" in members
    }
    if not present:
        held = ", ".join(sorted(members)[:8]) or "nothing"
        raise InputError(f"{path} holds no train_images, val_images or test_images; it holds {held}")
    if split is None and len(present) == 1:
        only, spelling = next(iter(present.items()))
        return only, spelling, ""
    wanted: Split = split or "test"
    if wanted not in present:
        raise InputError(f"{path} has no images of split {wanted!r}; choose one: {_choices(path, present)}")
    return wanted, present[wanted], f" ({wanted} split)"


def _choices(path: Path, present: dict[Split, str]) -> str:
    return ", ".join(f"{path.name}#{found}" for found in present)


def _check_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> None:
    """Refuse what must not be unpacked, from the sizes in the archive and the header of the array alone."""
    what = f"{member.filename} of {path.name}"
    if member.file_size > limit:
        raise InputError(f"{what} unpacks to {member.file_size} bytes, more than {limit}; split the archive")
    with archive.open(member) as stream:
        shape, dtype = _read_header(stream, what)
        header = stream.tell()
    if dtype.hasobject:
        raise InputError(f"{what} holds Python objects, which could run code when read; store plain integers")
    size = header + dtype.itemsize * math.prod(shape)
    if size != member.file_size:
        raise InputError(f"{what} is damaged: {dtype} {shape} needs {size} bytes, it has {member.file_size}")


def _read_header(stream: IO[bytes], what: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise InputError(f"{what} has format version {version}; expected plain integers of version (1, 0) or (2, 0)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers written by Python 2
        shape, _, dtype = readers[version](stream)
    return shape, dtype


def _read(stream: IO[bytes], keys: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    stream.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The one place that may: without pickles, and only members whose sizes and headers were checked.
        with np.load(stream, allow_pickle=False) as loaded:  # noqa: TID251
            return {key: loaded[f"{key}.npy"] for key in keys}
