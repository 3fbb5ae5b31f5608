"""One frame of a DICOM file as an RGB picture; nothing of its header but what the pixels need, and hashes of units.

Rescaling, windows and MONOCHROME1 are as DICOM PS3.3 C.11 defines them. A file is hostile until proven otherwise: sizes
are compared with what the file holds before anything is allocated, and no message repeats a value of a header, which
may be a person's name.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import RejectedImageError, import_extra
from snellen.data.files.decoding import DecodingLimits
from snellen.data.files.medical.containing import contained
from snellen.data.files.medical.window import Window, picture_of_shares, windowed

#: Elements of a header that are read at all, beside the pixels.
TAGS = (
    "PatientID",
    "IssuerOfPatientID",
    "StudyInstanceUID",
    "NumberOfFrames",
    "Rows",
    "Columns",
)

#: Elements that name no person and may distinguish groups.
GROUPS = ("Modality", "Manufacturer", "ManufacturerModelName", "BodyPartExamined", "ViewPosition", "PatientSex")

#: Transfer syntaxes whose pixels are not compressed, and RLE, which pydicom decodes itself.
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
RLE = "1.2.840.10008.1.2.5"

#: The others, by what they are called, and a package that decodes them.
COMPRESSED: Mapping[str, tuple[str, str]] = {
    "1.2.840.10008.1.2.4.50": ("JPEG baseline", "python-gdcm"),
    "1.2.840.10008.1.2.4.51": ("JPEG extended", "python-gdcm"),
    "1.2.840.10008.1.2.4.57": ("JPEG lossless", "python-gdcm"),
    "1.2.840.10008.1.2.4.70": ("JPEG lossless", "python-gdcm"),
    "1.2.840.10008.1.2.4.80": ("JPEG-LS", "pyjpegls"),
    "1.2.840.10008.1.2.4.81": ("JPEG-LS", "pyjpegls"),
    "1.2.840.10008.1.2.4.90": ("JPEG 2000", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.91": ("JPEG 2000", "pylibjpeg-openjpeg"),
}

#: Most frames of a file, and bytes of an element of a header that is kept.
MOST_FRAMES = 10_000


class Header(NamedTuple):
    """What is known of a file before its pixels are read.

    Attributes:
        frames: how many.
        patient: a hash that stands for the patient; None where the file names none.
        study: the same of the study.
        group: value of the element that distinguishes groups; None without one.
    """

    frames: int
    patient: str | None
    study: str | None
    group: str | None


def read_header(content: bytes, group: str | None = None) -> Header:
    """Frames and units of a file.

    Raises:
        RejectedImageError: no DICOM file, or one whose header cannot be.
    """
    with contained("its header"):
        found = _parsed(content, [*TAGS, *([group] if group else [])], pixels=False)
        frames = _number(found, "NumberOfFrames", 1)
        if not 1 <= frames <= MOST_FRAMES:
            raise RejectedImageError(f"the header announces {frames} frames; expected 1 to {MOST_FRAMES}")
        issuer, patient = _text(found, "IssuerOfPatientID") or "", _text(found, "PatientID")
        return Header(
            frames,
            None if patient is None else f"patient-{_hash(issuer + chr(0) + patient)}",
            None if (study := _text(found, "StudyInstanceUID")) is None else f"study-{_hash(study)}",
            _text(found, group) if group else None,
        )


def decode_frame(content: bytes, frame: int, window: Window | int | None, limits: DecodingLimits) -> Image.Image:
    """One frame in RGB.

    Args:
        content: the whole file.
        frame: from 0 on.
        window: a window; or which one of the file's own, and all values that may occur where the file has none; None:
            all values that may occur.
        limits: what is refused.

    Raises:
        RejectedImageError: the file breaks a limit, is damaged, or is compressed in a way that no package at hand
            decodes.
    """
    pixels = import_extra("pydicom.pixels", "dicom", "reading DICOM files")
    with contained("its header"):
        found = _parsed(content, None, pixels=True)
        rows, columns = _number(found, "Rows", 0), _number(found, "Columns", 0)
        samples, bits = _number(found, "SamplesPerPixel", 1), _number(found, "BitsAllocated", 0)
        _check(found, rows, columns, samples, bits, limits)
        several, meaning = _number(found, "NumberOfFrames", 1) > 1, str(found.PhotometricInterpretation)
        colour = samples == 3 or meaning == "PALETTE COLOR"
        table = None if colour else _own_table(found, window)
        shown = None if colour else _range_of(table) if table is not None else _window(found, window)
    with contained("its pixels"):
        values = pixels.pixel_array(found, index=frame if several else None)
        if samples == 3:
            return _colour(values, bits)
        if shown is None:
            return _colour(*_of_palette(pixels.apply_color_lut(values, found)))
        if values.shape != (rows, columns):
            raise RejectedImageError("damaged: its pixels are of another size than its header announces")
        rescaled = pixels.apply_modality_lut(values, found)
        if table is not None and isinstance(window, int):
            rescaled = pixels.apply_voi(rescaled, found, index=window)
        grey = windowed(np.asarray(rescaled, dtype=np.float64), shown)
        stored = _number(found, "BitsStored", bits)
    # The lowest value of MONOCHROME1 is white.
    return picture_of_shares(grey, bits=stored, inverted=meaning == "MONOCHROME1")


def _parsed(content: bytes, tags: list[str] | None, *, pixels: bool) -> Any:  # noqa: ANN401 - a pydicom.Dataset
    pydicom = import_extra("pydicom", "dicom", "reading DICOM files")
    errors = import_extra("pydicom.errors", "dicom", "reading DICOM files")
    try:
        return pydicom.dcmread(io.BytesIO(content), specific_tags=tags, stop_before_pixels=not pixels)
    except errors.InvalidDicomError:
        raise RejectedImageError("not a DICOM file") from None


def _check(found: Any, rows: int, columns: int, samples: int, bits: int, limits: DecodingLimits) -> None:  # noqa: ANN401
    """Refuse before anything is allocated what the header announces and the file cannot hold."""
    syntax = str(getattr(getattr(found, "file_meta", None), "TransferSyntaxUID", ""))
    if "PixelData" not in found:
        raise RejectedImageError("the file holds no pixels of integers (PixelData)")
    if rows < limits.min_edge or columns < limits.min_edge:
        raise RejectedImageError(f"{columns}×{rows} pixels: an edge is shorter than {limits.min_edge} (min_edge)")
    if rows * columns > limits.max_pixels:
        raise RejectedImageError(f"{columns}×{rows} pixels are more than {limits.max_pixels} (max_pixels)")
    if max(rows, columns) > limits.max_aspect * min(rows, columns):
        raise RejectedImageError(f"{columns}×{rows} pixels: more than {limits.max_aspect:g} to 1 (max_aspect)")
    if samples not in (1, 3) or bits not in (1, 8, 16, 32):
        raise RejectedImageError(
            f"{samples} samples of {bits} bits for each pixel are not read; expected 1 or 3 of 8 or 16"
        )
    if "PhotometricInterpretation" not in found:
        raise RejectedImageError("the header does not say what pixels mean (PhotometricInterpretation)")
    frames = _number(found, "NumberOfFrames", 1)
    if syntax in NATIVE:
        needed, held = rows * columns * samples * frames * bits // 8, len(found.PixelData)
        if held < needed:
            raise RejectedImageError(f"the header announces {needed} bytes of pixels, and the file holds {held}")
        return
    if syntax in COMPRESSED:
        named, package = COMPRESSED[syntax]
        pixels = import_extra("pydicom.pixels", "dicom", "reading DICOM files")
        if not pixels.get_decoder(syntax).is_available:
            raise RejectedImageError(f"compressed as {named}, which needs the package {package}: pip install {package}")
    elif syntax != RLE:
        raise RejectedImageError("a transfer syntax that is not read; store the pixels uncompressed")


def _window(found: Any, window: Window | int | None) -> Window:  # noqa: ANN401
    if isinstance(window, Window):
        return window
    centers, widths = _floats(found, "WindowCenter"), _floats(found, "WindowWidth")
    if window is not None and centers and widths:
        if window >= min(len(centers), len(widths)):
            raise RejectedImageError(
                f"the file has {min(len(centers), len(widths))} windows, and number {window + 1} is wanted"
            )
        shape = _text(found, "VOILUTFunction") or "LINEAR"
        if shape not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
            raise RejectedImageError("its window has a function that is not known (VOILUTFunction)")
        return Window(centers[window], widths[window], shape)  # type: ignore[arg-type]
    return _full(found)


def _own_table(found: Any, window: Window | int | None) -> Any:  # noqa: ANN401
    """The table from values to what is shown, where a file has tables in place of windows and its own is wanted."""
    tables = getattr(found, "VOILUTSequence", None)
    if not isinstance(window, int) or not tables or _floats(found, "WindowCenter"):
        return None
    if window >= len(tables):
        raise RejectedImageError(f"the file has {len(tables)} windows, and number {window + 1} is wanted")
    return tables[window]


def _range_of(table: Any) -> Window:  # noqa: ANN401
    """All values of a table: 0 to what its bits hold."""
    most = 2.0 ** int(table.LUTDescriptor[2]) - 1
    return Window(most / 2, most)


def _full(found: Any) -> Window:  # noqa: ANN401
    """All values that may occur, after rescaling or a table in its place."""
    if tables := getattr(found, "ModalityLUTSequence", None):
        return _range_of(tables[0])
    bits, signed = _number(found, "BitsStored", 16), _number(found, "PixelRepresentation", 0)
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1], dtype=np.float64)
    slope, intercept = (_floats(found, name) for name in ("RescaleSlope", "RescaleIntercept"))
    ends = ends * (slope[0] if slope else 1.0) + (intercept[0] if intercept else 0.0)
    return Window(float(ends.mean()), float(abs(ends[1] - ends[0])))


def _colour(values: NDArray[np.integer], bits: int) -> Image.Image:
    if bits != 8 or values.ndim != 3:
        raise RejectedImageError(f"colour of {bits} bits is not read; store 8 bits for each sample")
    return Image.fromarray(np.ascontiguousarray(values.astype(np.uint8)))


def _of_palette(values: NDArray[np.integer]) -> tuple[NDArray[np.integer], int]:
    """Colours of a palette as bytes: of 16 bits the upper byte."""
    return (values >> 8 if values.dtype.itemsize == 2 else values)[..., :3], 8


def _number(found: Any, name: str, default: int) -> int:  # noqa: ANN401
    value = getattr(found, name, None)
    try:
        return default if value in (None, "") else int(value)
    except (TypeError, ValueError):
        raise RejectedImageError(f"damaged: {name} is no number") from None


def _floats(found: Any, name: str) -> list[float]:  # noqa: ANN401
    value = getattr(found, name, None)
    if value in (None, ""):
        return []
    several = value if not isinstance(value, str | int | float) and hasattr(value, "__iter__") else [value]
    try:
        return [float(one) for one in several]
    except (TypeError, ValueError):
        raise RejectedImageError(f"damaged: {name} is no number") from None


def _text(found: Any, name: str) -> str | None:  # noqa: ANN401
    value = getattr(found, name, None)
    text = "" if value is None else str(value).strip()
    return text or None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
