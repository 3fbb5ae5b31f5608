"""One slice of a NIfTI volume as an RGB picture; axial slices lie as radiologists see them.

The header is read by itself first: what a volume would unpack to is known before anything is unpacked.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import RejectedImageError, import_extra
from snellen.data.files.decoding import DecodingLimits
from snellen.data.files.medical.containing import contained
from snellen.data.files.medical.window import Window, picture_of_shares, windowed

#: Axes of a volume in the orientation right, anterior, superior, by the name of their slices.
AXES = {"sagittal": 0, "coronal": 1, "axial": 2}

#: Largest volume as it is unpacked, and as it is rescaled to float32, bytes.
MAX_VOLUME = 2**30

#: Bytes of the header of NIfTI-1, and of NIfTI-2.
_HEADERS = {348: "Nifti1Header", 540: "Nifti2Header"}


class Volume(NamedTuple):
    """A volume in the orientation right, anterior, superior.

    Attributes:
        values: (x, y, z), rescaled.
        shown: range that its header says is to be shown; None without one.
        bits: of a value as it is stored.
    """

    values: NDArray[np.floating]
    shown: tuple[float, float] | None
    bits: int = 16


def slice_count(content: bytes, axis: str) -> int:
    """Slices of a volume along an axis, from its header alone.

    Raises:
        RejectedImageError: no NIfTI volume of three axes, or one that is too large.
    """
    header = _header(_unpacked(content, max(_HEADERS)))
    # Axes are named by the orientation that the header states.
    nibabel = import_extra("nibabel", "nifti", "reading NIfTI files")
    with contained("its orientation"):
        order = nibabel.io_orientation(header.get_best_affine())[:, 0]
    if np.isnan(order).any():
        raise RejectedImageError("the header states no orientation that can be")
    return int(header.get_data_shape()[order.astype(int).tolist().index(AXES[axis])])


def read_volume(content: bytes) -> Volume:
    """The whole volume.

    Raises:
        RejectedImageError: as :func:`slice_count`, or the file is damaged.
    """
    header = _header(_unpacked(content, max(_HEADERS)))
    size = int(header["vox_offset"]) + header.get_data_dtype().itemsize * math.prod(header.get_data_shape())
    whole = _unpacked(content, size)
    if len(whole) < size:
        raise RejectedImageError(f"the header announces {size} bytes, and the file holds {len(whole)}")
    nibabel = import_extra("nibabel", "nifti", "reading NIfTI files")
    kind = nibabel.Nifti1Image if len(header.binaryblock) == 348 else nibabel.Nifti2Image
    with contained("its values"):
        image = nibabel.as_closest_canonical(kind.from_bytes(whole))
        values = np.asarray(image.dataobj, dtype=np.float32)
    bits = 8 * header.get_data_dtype().itemsize
    low, high = float(header["cal_min"]), float(header["cal_max"])
    return Volume(values.reshape(values.shape[:3]), (low, high) if low < high else None, bits)


def draw_slice(
    volume: Volume, place: int, axis: str, window: Window | int | None, limits: DecodingLimits
) -> Image.Image:
    """One slice in RGB: the patient's right is on the left, anterior or superior is up.

    Args:
        volume: of one file.
        place: of the slice, from 0 on.
        axis: whose slices are meant, of :data:`AXES`.
        window: a window; 0: the range that the header says, and all values of the volume where it says none; None: all
            values of the volume.
        limits: what is refused.

    Raises:
        RejectedImageError: the slice breaks a limit, or its values are not finite.
    """
    plane = np.take(volume.values, place, axis=AXES[axis]).astype(np.float64)
    picture = plane.T[::-1, ::-1]
    if picture.size > limits.max_pixels or max(picture.shape) > limits.max_aspect * min(picture.shape):
        raise RejectedImageError(f"{picture.shape[1]}×{picture.shape[0]} pixels break a limit (max_pixels, max_aspect)")
    if isinstance(window, int) and window > 0:
        raise RejectedImageError(f"a NIfTI header states one range to be shown, and number {window + 1} is wanted")
    chosen = window if isinstance(window, Window) else None
    if chosen is None:
        ends = volume.shown if window is not None and volume.shown is not None else _ends(volume)
        chosen = Window((ends[0] + ends[1]) / 2, ends[1] - ends[0])
    return picture_of_shares(windowed(picture, chosen), bits=volume.bits)


def _ends(volume: Volume) -> tuple[float, float]:
    low, high = float(volume.values.min()), float(volume.values.max())
    return (low, high) if high > low else (low, low + 1)


def _header(start: bytes) -> Any:  # noqa: ANN401 - a header of nibabel
    nibabel = import_extra("nibabel", "nifti", "reading NIfTI files")
    sizes = {int.from_bytes(start[:4], order): order for order in ("little", "big")}
    known = next((size for size in sizes if size in _HEADERS), None)
    if known is None or len(start) < known:
        raise RejectedImageError("not a NIfTI file")
    with contained("its header"):
        header = getattr(nibabel, _HEADERS[known])(start[:known], check=False)
        shape, kind = header.get_data_shape(), header.get_data_dtype()
    if len(shape) < 3 or any(side < 1 for side in shape) or math.prod(shape[3:]) != 1:
        raise RejectedImageError(f"a volume of {len(shape)} axes is not read; store volumes of three axes")
    if kind.names is not None or kind.kind not in "iuf":
        raise RejectedImageError("volumes of colours or complex numbers are not read; store grey values")
    if not 0 <= float(header["vox_offset"]) <= 2**20:
        raise RejectedImageError("damaged: the header states values at an impossible place")
    if max(kind.itemsize, np.dtype(np.float32).itemsize) * math.prod(shape) > MAX_VOLUME:
        raise RejectedImageError(f"the header announces a volume of more than {MAX_VOLUME} bytes")
    return header


def _unpacked(content: bytes, most: int) -> bytes:
    """At most so many of the first bytes, unpacked where they are packed."""
    if content[:2] != b"\x1f\x8b":
        return content[:most]
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            return stream.read(most)
    except (OSError, EOFError, zlib.error):
        raise RejectedImageError("damaged: it cannot be unpacked") from None
