"""NumPy archives in the style of MedMNIST-C: one for each method, all severities stacked."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.runs.array_member import array_member
from snellen.runs.settings import Setting
from snellen.runs.whole_file import whole_file
from snellen.runs.writer import Row, sha256


class ArchiveWriter:
    """Archives ``SETTING.npz``, not compressed, so that their arrays can be mapped into memory.

    ``test_images`` are uint8 (s · n, h, w), or (s · n, h, w, 3) where one is coloured: image i at the p-th severity is
    row p · n + i. ``test_labels`` are integers (s · n, 1), or (s · n, k) for several labels per image. Images that were
    rejected are left out at all severities. Until an archive is complete its pixels lie in ``parts``, on the disk.

    Args:
        out: the folder.
        parts: folder for what is not complete.
        images: the set that is shifted.
        severities: in order.
        size: height and width of all images.

    Raises:
        InputError: an image has no label.
    """

    def __init__(
        self, out: Path, parts: Path, images: ImageSet, severities: Sequence[float], size: tuple[int, int]
    ) -> None:
        self.out, self.parts, self.images, self.severities, self.size = out, parts, images, severities, size
        self.labels = _labels(images)
        self._bytes = size[0] * size[1] * 3

    def write(self, setting: Setting, index: int, position: int, pixels: NDArray[np.uint8]) -> str:
        """Put one image at its place; see :class:`~snellen.runs.writer.Writer`."""
        if pixels.shape[:2] != self.size:
            raise _several_sizes(self.images.ids[index], (pixels.shape[0], pixels.shape[1]), self.size)
        content = pixels.tobytes()
        path = self._part(setting)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        with path.open("r+b") as stream:
            stream.seek(self._place(index, position))
            stream.write(content)
        return sha256(content)

    def write_mask(self, setting: Setting, index: int, position: int, mask: NDArray[np.bool_]) -> None:
        """The published archives hold no masks, and neither do these."""

    def discard(self, setting: Setting, row: Row) -> None:
        """Nothing to do: only rows that are concluded with get into the archive."""

    def holds(self, setting: Setting, row: Row) -> bool:
        """Whether an image is at its places, byte for byte."""
        try:
            with self._part(setting).open("rb") as stream:
                return all(
                    sha256(self._read(stream, row.index, position)) == recorded
                    for position, recorded in enumerate(row.hashes)
                )
        except OSError:
            return False

    def conclude(self, settings: Sequence[Setting], rows: Mapping[str, Sequence[Row]]) -> list[str]:
        """Write the archives; a setting under which no image is usable has none."""
        written = []
        for setting in settings:
            kept = rows[setting.name]
            if not kept:
                continue
            with whole_file(self.out / f"{setting.name}.npz") as stream, zipfile.ZipFile(stream, "w") as archive:
                self._write_images(archive, setting, kept)
                labels = np.tile(self.labels[[row.index for row in kept]], (len(self.severities), 1))
                with array_member(archive, "test_labels", labels.dtype, labels.shape) as member:
                    member.write(labels.tobytes())
            written.append(f"{setting.name}.npz")
        return written

    def _write_images(self, archive: zipfile.ZipFile, setting: Setting, kept: Sequence[Row]) -> None:
        grey = all(row.grey for row in kept)
        shape = (len(self.severities) * len(kept), *self.size, *(() if grey else (3,)))
        with (
            self._part(setting).open("rb") as parts,
            array_member(archive, "test_images", np.dtype(np.uint8), shape) as member,
        ):
            for position in range(len(self.severities)):
                for row in kept:
                    content = self._read(parts, row.index, position)
                    member.write(content[::3] if grey else content)

    def _part(self, setting: Setting) -> Path:
        return self.parts / f"{setting.name}.pixels"

    def _place(self, index: int, position: int) -> int:
        return (position * len(self.images) + index) * self._bytes

    def _read(self, stream: IO[bytes], index: int, position: int) -> bytes:
        stream.seek(self._place(index, position))
        return stream.read(self._bytes)


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
