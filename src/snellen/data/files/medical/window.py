"""Grey values of medical images as 16 bits: a window of values from black to white, rounded once."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.deep_picture import WHITE, DeepPicture, from_shares
from snellen.core.errors import InputError, RejectedImageError

#: Windows of CT by name: centre and width in Hounsfield units.
NAMED: dict[str, tuple[float, float]] = {
    "brain": (40, 80),
    "soft": (40, 400),
    "lung": (-600, 1500),
    "bone": (400, 1800),
}

#: How a window cuts off its ends (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3).
Shape = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


class Window(NamedTuple):
    """A window of values."""

    center: float
    width: float
    shape: Shape = "LINEAR_EXACT"


def windowed(values: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Values (h, w) as shares of white in [0, 1]: black below the window, white above it.

    >>> windowed(np.array([[-100.0, 0.0, 40.0, 80.0, 900.0]]), Window(40, 80)).tolist()
    [[0.0, 0.0, 0.5, 1.0, 1.0]]
    >>> windowed(np.array([[0.0, 0.5, 1.0]]), Window(1, 1, "LINEAR")).tolist()  # of width 1: two values
    [[0.0, 0.0, 1.0]]

    Raises:
        RejectedImageError: values that are not finite, or a window without a width.
    """
    center, width, shape = window
    if not np.isfinite([center, width]).all() or (width < 1 if shape == "LINEAR" else width <= 0):
        raise RejectedImageError(f"a window of centre {center:g} and width {width:g} cannot be")
    if not np.isfinite(values).all():
        raise RejectedImageError("pixels are not finite (NaN or infinity)")
    if shape == "SIGMOID":
        share = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    elif shape == "LINEAR" and width == 1:
        share = (values > center - 0.5).astype(np.float64)
    elif shape == "LINEAR":
        share = (values - (center - 0.5)) / (width - 1) + 0.5
    else:
        share = (values - center) / width + 0.5
    shares: NDArray[np.float64] = np.clip(share, 0, 1)
    return shares


def picture_of_shares(shares: NDArray[np.float64], *, bits: int, inverted: bool = False) -> Image.Image:
    """Shares of white (h, w) as an RGB picture: bytes where the values that they came from had no more, else 16 bits.

    Args:
        shares: in [0, 1].
        bits: of the values as they were stored.
        inverted: the highest is black.
    """
    if bits <= 8:
        whole = np.rint(shares * 255).astype(np.uint8)
        return Image.fromarray(255 - whole if inverted else whole).convert("RGB")
    values = from_shares(shares)
    return DeepPicture(WHITE - values if inverted else values)


def parse_window(text: str) -> Window | int | None:
    """A window as it is written: a name, CENTRE,WIDTH; ``file`` and ``file2``, the file's own: 0 and 1; ``full``: None.

    >>> parse_window("lung"), parse_window("file2"), parse_window("full")
    (Window(center=-600, width=1500, shape='LINEAR_EXACT'), 1, None)

    Raises:
        InputError: anything else.
    """
    if text in NAMED:
        return Window(*NAMED[text])
    if text == "full":
        return None
    if text.startswith("file") and (text == "file" or text[4:].isdigit()) and text != "file0":
        return int(text[4:] or 1) - 1
    parts = text.split(",")
    try:
        center, width = (float(part) for part in parts)
    except ValueError:
        center, width = np.nan, np.nan
    if not np.isfinite(center) or not np.isfinite(width) or width <= 0:
        raise InputError(
            f"window={text!r} is no window; write {', '.join(NAMED)}, CENTRE,WIDTH as in -600,1500, file (the file's "
            f"own, file2 its second), or full (all values that may occur)"
        )
    return Window(center, width)
