"""Pictures of 16 bits a channel: models see all of them, everything that shows a picture sees 8.

A picture is a PIL image in RGB everywhere, and Pillow knows RGB of 8 bits alone. A deep picture is such an image,
rounded to them, that also holds its values: what draws, stores or sends it does so as with any other, and
:class:`~snellen.core.preprocessing.Preprocessing` resizes and cuts the values. Prepared, it is float32 in [0, 1], as a
classifier takes images, and not bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

#: White, where black is 0.
WHITE = 65535

#: Values closer than this to a whole byte, in 1/255, are that byte; a step of 16 bits is 1/257.
_NEAR = 1e-3


class DeepPicture(Image.Image):
    """An RGB picture that holds 16 bits a channel.

    Copies keep the values. Everything else of Pillow (``crop``, ``resize``, ``convert("L")``) gives the ordinary
    picture of 8 bits, and one that is drawn on, or made a thumbnail, becomes that: its values would not follow.

    >>> picture = DeepPicture(np.array([[0, 100, 65535]], dtype=np.uint16))
    >>> picture.mode, picture.size, picture.getpixel((1, 0)), int(picture.values[0, 1])
    ('RGB', (3, 1), (0, 0, 0), 100)

    Args:
        values: uint16 (h, w) or (h, w, 3), 0 black and 65,535 white.
    """

    def __init__(self, values: NDArray[np.uint16]) -> None:
        super().__init__()
        if values.dtype != np.uint16 or values.ndim not in (2, 3) or values.shape[2:] not in ((), (3,)):
            raise ValueError(f"a deep picture takes uint16 (h, w) or (h, w, 3), got {values.dtype} {values.shape}")
        self.values = np.ascontiguousarray(values).view()
        self.values.flags.writeable = False
        shown = Image.fromarray(np.ascontiguousarray(to_eight_bits(self.values))).convert("RGB")
        self.im, self._mode, self._size = shown.im, shown.mode, shown.size
        self.readonly = 1  # so that Pillow calls _ensure_mutable before it changes pixels

    def copy(self) -> DeepPicture:
        """The same picture."""
        return DeepPicture(self.values)

    def convert(self, mode: str | None = None, *given: Any, **named: Any) -> Image.Image:  # noqa: ANN401 - Pillow's
        """As Pillow's; in RGB it stays as it is."""
        return self.copy() if mode in (None, "RGB") and not (given or named) else super().convert(mode, *given, **named)

    def thumbnail(self, *given: Any, **named: Any) -> None:  # noqa: ANN401 - Pillow's
        """As Pillow's, of 8 bits."""
        self._become_ordinary()
        self.thumbnail(*given, **named)

    def _ensure_mutable(self) -> None:  # what draws, pastes and sets pixels calls first
        self._become_ordinary()
        self._ensure_mutable()

    def _become_ordinary(self) -> None:
        del self.values
        self.__class__ = Image.Image  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[DeepPicture], tuple[NDArray[np.uint16]]]:
        return DeepPicture, (self.values,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeepPicture) and np.array_equal(self.values, other.values)

    __hash__ = None  # type: ignore[assignment]


def to_eight_bits(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """The nearest byte of each value, by rows: no more than twice the memory."""
    found = np.empty(values.shape, dtype=np.uint8)
    for start in range(0, len(values), 512):
        found[start : start + 512] = np.rint(values[start : start + 512].astype(np.float64) * (255 / WHITE))
    return found


def from_shares(shares: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Values in [0, 1] as 16 bits: (h, w, …) → the same."""
    values: NDArray[np.uint16] = np.rint(np.clip(shares, 0, 1) * WHITE).astype(np.uint16)
    return values


def stored_values(picture: Image.Image) -> bytes:
    """What makes two pictures of one size the same, for hashes: the values of a deep one, the bytes of any other."""
    return b"16 bits " + picture.values.tobytes() if isinstance(picture, DeepPicture) else picture.tobytes()


def stack_pixels(prepared: Sequence[Tensor]) -> Tensor:
    """Prepared images as one batch: bytes where all are, else float32 in [0, 1], to which bytes are brought.

    >>> stack_pixels([torch.full((3, 1, 1), 51, dtype=torch.uint8), torch.full((3, 1, 1), 0.5)])[:, 0, 0, 0].tolist()
    [0.20000000298023224, 0.5]
    """
    return torch.stack(_of_one_range(prepared))


def join_pixels(batches: Sequence[Tensor]) -> Tensor:
    """Batches of prepared images as one, as :func:`stack_pixels` does with images: (n, ...) each.

    >>> join_pixels([torch.full((1, 3, 1, 1), 51, dtype=torch.uint8), torch.full((1, 3, 1, 1), 0.5)]).amax().item()
    0.5
    """
    return torch.cat(_of_one_range(batches))


def _of_one_range(prepared: Sequence[Tensor]) -> list[Tensor]:
    if len({one.dtype for one in prepared}) == 1:
        return list(prepared)
    return [one.to(torch.float32).div(255) if one.dtype == torch.uint8 else one for one in prepared]


def is_deep(images: Tensor) -> Tensor:
    """Which images hold more than bytes: float (n, 3, h, w) in [0, 1], or uint8 → bool (n,).

    >>> is_deep(torch.tensor([10 / 255, 10.5 / 255]).view(2, 1, 1, 1)).tolist()
    [False, True]
    """
    return _bytes_of(images)[1]


def _bytes_of(images: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest bytes, and which images hold more than these, bool (n,)."""
    if images.dtype == torch.uint8:
        return images, torch.zeros(len(images), dtype=torch.bool, device=images.device)
    scaled = images.detach().to(torch.float32) * 255
    whole = scaled.round()
    if images.dtype in (torch.float16, torch.bfloat16):  # they move bytes further than _NEAR
        return whole.to(torch.uint8), torch.zeros(len(images), dtype=torch.bool, device=images.device)
    return whole.to(torch.uint8), scaled.sub_(whole).abs_().flatten(1).amax(1) > _NEAR


def pixel_bytes(images: Tensor) -> list[bytes]:
    """What makes two prepared images the same, for hashes: (n, 3, h, w) → n texts of bytes.

    Images that are whole bytes give these, as uint8 and as float32; others 16 bits.
    """
    whole, deep = _bytes_of(images)
    return [
        b"16 bits " + from_shares(images[row].detach().cpu().double().numpy()).tobytes() if more else one.tobytes()
        for row, (one, more) in enumerate(zip(whole.contiguous().cpu().numpy(), deep.tolist(), strict=True))
    ]


def pixels_hash(image: Tensor) -> bytes:
    """SHA-256 of one prepared image (3, h, w)."""
    return hashlib.sha256(pixel_bytes(image[None])[0]).digest()
