"""NumPy archives in the style of MedMNIST-C: one for each method, all severities stacked."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.runs.measuring import Put
from snellen.runs.settings import Setting
from snellen.runs.unfinished import UNFINISHED
from snellen.runs.whole_file import whole_file
from snellen.runs.writer import Row, sha256

#: Equal contents give equal archives: their members bear this date, the first that the format knows.
_DATE = (1980, 1, 1, 0, 0, 0)


@contextmanager
def array_member(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> Iterator[IO[bytes]]:
    """An array of an archive, open for its bytes in C order."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w", force_zip64=True) as member:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        yield member


class ArchiveWriter:
    """Archives ``SETTING.npz``, not compressed, so that their arrays can be mapped into memory.

    ``test_images`` are uint8 (s · n, h, w), or (s · n, h, w, 3) where one is coloured: image i at the p-th severity is
    row p · n + i. ``test_labels`` are integers (s · n, 1), or (s · n, k) for several labels per image. Images that were
    rejected are left out at all severities. Until an archive is complete its pixels lie in files of shards.

    Args:
        images: the set that is shifted.
        severities: in order.
        size: height and width of all images.

    Raises:
        InputError: an image has no label.
    """

    def __init__(self, images: ImageSet, severities: Sequence[float], size: tuple[int, int]) -> None:
        self.images, self.severities, self.size = images, severities, size
        self.labels = _labels(images)

    def part(self, setting: Setting, members: range, put: Put) -> ArchivePart:
        """See :class:`~snellen.runs.writer.Writer`."""
        return ArchivePart(self, setting, members, put)

    def discard(self, setting: Setting, row: Row, folder: Path) -> None:
        """Nothing to do: only rows that are concluded with get into the archive."""

    def conclude(
        self,
        settings: Sequence[Setting],
        rows: Mapping[str, Sequence[Row]],
        members: Mapping[str, Sequence[range]],
        folder: Path,
    ) -> list[str]:
        """Write the archives; a setting under which no image is usable has none."""
        written = []
        for setting in settings:
            kept = rows[setting.name]
            if not kept:
                continue
            with whole_file(folder / f"{setting.name}.npz") as stream, zipfile.ZipFile(stream, "w") as archive:
                self._write_images(archive, setting, kept, members[setting.name], folder)
                labels = np.tile(self.labels[[row.index for row in kept]], (len(self.severities), 1))
                with array_member(archive, "test_labels", labels.dtype, labels.shape) as member:
                    member.write(labels.tobytes())
            written.append(f"{setting.name}.npz")
        return written

    def _write_images(
        self,
        archive: zipfile.ZipFile,
        setting: Setting,
        kept: Sequence[Row],
        members: Sequence[range],
        folder: Path,
    ) -> None:
        grey = all(row.grey for row in kept)
        shape = (len(self.severities) * len(kept), *self.size, *(() if grey else (3,)))
        parts = [(some, _mapped(folder / pixels_path(setting, some), self, some)) for some in members]
        with array_member(archive, "test_images", np.dtype(np.uint8), shape) as member:
            for position in range(len(self.severities)):
                for row in kept:
                    some, pixels = next(part for part in parts if row.index in part[0])
                    image = pixels[position, row.index - some.start]
                    member.write(np.ascontiguousarray(image[..., 0] if grey else image).tobytes())


class ArchivePart:
    """Holds the pixels of some images until all are there; see :class:`~snellen.runs.writer.Part`."""

    def __init__(self, writer: ArchiveWriter, setting: Setting, members: range, put: Put) -> None:
        self._writer, self._setting, self._members, self._put = writer, setting, members, put
        self._pixels = np.zeros((len(writer.severities), len(members), *writer.size, 3), dtype=np.uint8)

    def add(self, index: int, position: int, pixels: NDArray[np.uint8]) -> str:
        """Put one image at its place."""
        if pixels.shape[:2] != self._writer.size:
            shape = (pixels.shape[0], pixels.shape[1])
            raise _several_sizes(self._writer.images.ids[index], shape, self._writer.size)
        self._pixels[position, index - self._members.start] = pixels
        return sha256(pixels.tobytes())

    def add_mask(self, index: int, position: int, mask: NDArray[np.bool_]) -> None:
        """The published archives hold no masks, and neither do these."""

    def close(self) -> None:
        """Write the pixels."""
        self._put(pixels_path(self._setting, self._members), self._pixels.tobytes())


def pixels_path(setting: Setting, members: range) -> str:
    """Where the pixels of a shard wait for their archive."""
    return f"{UNFINISHED}/pixels/{setting.name}-{members.start:09d}.pixels"


def _mapped(path: Path, writer: ArchiveWriter, members: range) -> NDArray[np.uint8]:
    """The pixels of a shard, (severities, n, h, w, 3), read where they are needed."""
    shape = (len(writer.severities), len(members), *writer.size, 3)
    return np.memmap(path, dtype=np.uint8, mode="r", shape=shape)


def common_size(images: ImageSet) -> tuple[int, int]:
    """Height and width that all usable images have.

    Raises:
        InputError: they have several, or no image is usable.
    """
    size: tuple[int, int] | None = None
    reason = "the set is empty"
    for index, example_id in enumerate(images.ids):
        try:
            image = images.read(index)
        except RejectedImageError as error:
            reason = f"{example_id}: {error}"
            continue
        if size is not None and size != (image.height, image.width):
            raise _several_sizes(example_id, (image.height, image.width), size)
        size = (image.height, image.width)
    if size is None:
        raise InputError(f"none of the {len(images)} images of {images.name} can be used; last: {reason}")
    return size


def _several_sizes(example_id: str, found: tuple[int, int], size: tuple[int, int]) -> InputError:
    return InputError(
        f"format medmnist-c needs images of one size: {example_id!r} has {found[1]}×{found[0]} pixels, others have "
        f"{size[1]}×{size[0]}; choose format folder, or resize the images"
    )


def _labels(images: ImageSet) -> NDArray[np.integer]:
    """Labels (n, 1) or (n, k), in the smallest type that MedMNIST uses for them."""
    several = [None] * len(images) if images.hidden else images.column("labels")
    if any(value is not None for value in several):
        bare = next((key for key, value in zip(images.ids, several, strict=True) if value is None), None)
        found: NDArray[np.integer] = np.asarray([] if bare is not None else several)
    else:
        found = np.full(len(images), -1) if images.hidden else images.labels
        bare = next((key for key, label in zip(images.ids, found.tolist(), strict=True) if label < 0), None)
        found = found[:, None]
    if bare is not None:
        raise InputError(f"format medmnist-c needs a label for each image, {bare!r} has none; choose format folder")
    return found.astype(np.uint8 if found.max(initial=0) < 256 else np.int64)
