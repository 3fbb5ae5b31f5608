"""From a decoded image to what a model was trained to see: resize, crop, pad, and the way back.

Equal, bit for bit, to the evaluation transforms of timm (``center``, ``squash`` and ``border`` crops) and torchvision:
both resize the PIL image, cut it with the same rounding, and divide bytes by 255.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from snellen.core.deep_picture import WHITE, DeepPicture
from snellen.core.errors import InputError

#: Floats beyond white by less are rounding.
_ROUNDING = 1e-3

#: round: half to even, as timm and torchvision. floor: as Hugging Face's image processors; one pixel apart at times.
CropStart = Literal["round", "floor"]
Resize = Literal["none", "shorter", "longer", "exact"]
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


class Normalization(NamedTuple):
    """Per-channel mean and standard deviation, in [0, 1] units: (x − mean) / std. Applied inside the classifier."""

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Placement:
    """Where a prepared image lies in its original: ``original = (prepared + offset) / scale``, in pixels.

    Pixel *edges* are meant: (0, 0) is the outer corner of the first pixel. Points in padding fall outside the original.

    >>> Placement(scale=(0.5, 0.5), offset=(10.0, 0.0)).to_original(0.0, 4.0)
    (20.0, 8.0)
    """

    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_original(self, x: float, y: float) -> tuple[float, float]:
        """Map a point of the prepared image to the original."""
        return (x + self.offset[0]) / self.scale[0], (y + self.offset[1]) / self.scale[1]

    def to_prepared(self, x: float, y: float) -> tuple[float, float]:
        """Map a point of the original to the prepared image."""
        return x * self.scale[0] - self.offset[0], y * self.scale[1] - self.offset[1]

    def region_on_original(self, region: Tensor, width: int, height: int) -> Tensor:
        """A part of the prepared image as the pixels of the original whose centres lie in it.

        >>> double = Placement(scale=(0.5, 1.0), offset=(0.0, 0.0))
        >>> double.region_on_original(torch.tensor([[False, True]]), width=4, height=1).tolist()
        [[False, False, True, True]]

        Args:
            region: bool (h, w), of the prepared image.
            width: of the original, pixels.
            height: of the original, pixels.

        Returns:
            bool (height, width); what the crop left out is in no region.
        """
        across = torch.arange(width, dtype=torch.float64).add(0.5).mul(self.scale[0]).sub(self.offset[0]).floor().long()
        down = torch.arange(height, dtype=torch.float64).add(0.5).mul(self.scale[1]).sub(self.offset[1]).floor().long()
        inside = ((down >= 0) & (down < region.shape[0]))[:, None] & ((across >= 0) & (across < region.shape[1]))[None]
        found = region.cpu()[down.clamp(0, region.shape[0] - 1)][:, across.clamp(0, region.shape[1] - 1)]
        return found & inside


class Preprocessing(BaseModel):
    """A model's own resize and crop.

    Modes of ``resize``: ``shorter`` scales until both edges reach ``resize_to`` (aspect kept, the rest is cut);
    ``longer`` until both edges fit into it (aspect kept, padded with ``fill``); ``exact`` ignores the aspect; ``none``
    leaves the image as it is. A centre crop (or padding) to ``size`` follows, unless ``size`` is None.

    >>> preparation = Preprocessing(size=(224, 224), resize="shorter", resize_to=(256, 256), interpolation="bicubic")
    >>> preparation(Image.new("RGB", (640, 480), "white")).shape
    torch.Size([3, 224, 224])
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[int, int] | None = Field(None, description="height and width that the model takes, pixels")
    resize: Resize = Field("none", description="how the image is scaled before the crop")
    resize_to: tuple[int, int] | None = Field(None, description="height and width that the scaling aims at, pixels")
    interpolation: Interpolation = Field("bilinear", description="resampling filter, antialiased")
    fill: tuple[int, int, int] = Field((0, 0, 0), description="colour of padding, bytes")
    crop_start: CropStart = Field("round", description="how the first pixel of the crop is rounded")

    @model_validator(mode="after")
    def _target_known(self) -> Self:
        if (self.resize == "none") != (self.resize_to is None):
            raise ValueError(
                f"resize and resize_to go together; got resize={self.resize!r}, resize_to={self.resize_to}"
            )
        return self

    @property
    def words(self) -> str:
        """What is done, in words.

        >>> Preprocessing(size=(224, 224), resize="shorter", resize_to=(256, 256)).words
        'shorter edge scaled to 256 pixels (bilinear), centre crop of 224x224'
        """
        size = None if self.size is None else f"{self.size[0]}x{self.size[1]}"
        if self.resize_to is None:
            return f"cut or padded to {size} pixels" if size else "images as they are"
        height, width = self.resize_to
        aim = f"{height}" if height == width else f"{height}x{width}"
        scaled = {
            "exact": f"scaled to {height}x{width} pixels ({self.interpolation})",
            "shorter": f"shorter edge scaled to {aim} pixels ({self.interpolation})",
            "longer": f"longer edge scaled to {aim} pixels ({self.interpolation})",
        }[self.resize]
        cut = size is not None and (self.resize != "exact" or self.size != self.resize_to)
        return f"{scaled}, centre crop of {size}" if cut else scaled

    def pixels(self, image: Image.Image) -> Tensor:
        """Prepare one image as bytes: uint8 (3, h, w). Exact, and a quarter of the memory of :meth:`__call__`.

        A :class:`~snellen.core.deep_picture.DeepPicture` gives float32 (3, h, w) in [0, 1], whose values nothing rounds
        to bytes. :func:`to_unit` takes both.
        """
        if isinstance(image, DeepPicture):
            return self._deep(image.values)
        prepared = self._cut(self._scale(image if image.mode == "RGB" else image.convert("RGB")))
        # Transposed by NumPy: a copy this small is not worth waking torch's threads for.
        return torch.from_numpy(np.array(np.asarray(prepared).transpose(2, 0, 1), order="C"))

    def __call__(self, image: Image.Image) -> Tensor:
        """Prepare one image: float32 (3, h, w) in [0, 1]."""
        return to_unit(self.pixels(image))

    def _deep(self, values: NDArray[np.uint16]) -> Tensor:
        """The same of 16 bits, in floating point from the values on: float32 (3, h, w)."""
        grey = values.ndim == 2 and len(set(self.fill)) == 1
        channels = [values] if grey else [values if values.ndim == 2 else values[..., place] for place in range(3)]
        planes = []
        for channel, fill in zip(channels, self.fill, strict=False):
            whole = self._scale(Image.fromarray(channel.astype(np.float32)))
            planes.append(np.array(self._cut(whole, fill * (WHITE / 255)), dtype=np.float32))
        found = torch.from_numpy(np.stack(planes)).div_(WHITE).clamp_(0, 1)
        return found.expand(3, -1, -1).contiguous() if grey else found

    def placement(self, width: int, height: int) -> Placement:
        """Where the prepared image lies in an original of this width and height."""
        scaled_height, scaled_width = self._scaled_size(height, width)
        crop_height, crop_width = self.size or (scaled_height, scaled_width)
        return Placement(
            scale=(scaled_width / width, scaled_height / height),
            offset=(float(self._start(scaled_width, crop_width)), float(self._start(scaled_height, crop_height))),
        )

    def _scaled_size(self, height: int, width: int) -> tuple[int, int]:
        if self.resize == "none" or self.resize_to is None:
            return height, width
        to_height, to_width = self.resize_to
        if self.resize == "exact":
            return to_height, to_width
        if self.resize == "shorter" and to_height == to_width:
            # torchvision's rounding: the longer edge is truncated.
            short, long = min(height, width), max(height, width)
            scaled_long = int(to_height * long / short)
            return (scaled_long, to_height) if width <= height else (to_height, scaled_long)
        # timm's rounding, for non-square targets and for "longer".
        ratios = (height / to_height, width / to_width)
        ratio = max(ratios) if self.resize == "longer" else min(ratios)
        return max(round(height / ratio), 1), max(round(width / ratio), 1)

    def _scale(self, image: Image.Image) -> Image.Image:
        height, width = self._scaled_size(image.height, image.width)
        if (height, width) == (image.height, image.width):
            return image
        return image.resize((width, height), Image.Resampling[self.interpolation.upper()])

    def _cut(self, image: Image.Image, fill: float | tuple[int, ...] | None = None) -> Image.Image:
        if self.size is None or self.size == (image.height, image.width):
            return image
        height, width = self.size
        left, top = self._start(image.width, width), self._start(image.height, height)
        missing_x, missing_y = max(width - image.width, 0), max(height - image.height, 0)
        if missing_x or missing_y:
            before_x, before_y = max(-left, 0), max(-top, 0)
            border = (before_x, before_y, missing_x - before_x, missing_y - before_y)
            image = ImageOps.expand(image, border, self.fill if fill is None else fill)  # type: ignore[arg-type]
        left, top = max(left, 0), max(top, 0)
        return image.crop((left, top, left + width, top + height))

    def _start(self, length: int, crop: int) -> int:
        """First pixel of the centred crop; negative where there is padding."""
        if self.crop_start == "floor":
            return (length - crop) // 2
        return round((length - crop) / 2.0) if length >= crop else -((crop - length) // 2)


class Stated(NamedTuple):
    """What the author of a model or of an image set declares about preprocessing.

    Attributes:
        source: who says it, for notes: "the transform of the images".
        preparation: resize and crop; None where not declared.
        normalization: mean and std; None where not declared.
        class_names: in the order of the outputs; None where not declared.
        whole_bytes: the model takes values from 0 to 255.
    """

    source: str
    preparation: Preprocessing | None = None
    normalization: Normalization | None = None
    class_names: tuple[str, ...] | None = None
    whole_bytes: bool = False


def to_unit(pixels: Tensor) -> Tensor:
    """Prepared images to float32 in [0, 1]: uint8 (..., h, w) → float32 (..., h, w); floats are there already.

    >>> to_unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist(), to_unit(torch.tensor([0.25])).tolist()
    ([0.0, 1.0], [0.25])

    Raises:
        InputError: floats beyond 1, as of a batch in which bytes were stacked with images of 16 bits.
    """
    if not pixels.is_floating_point():
        return pixels.to(torch.float32).div(255)
    if pixels.numel() and float(pixels.detach().amax()) > 1 + _ROUNDING:
        raise InputError(
            f"prepared images are uint8, or floats in [0, 1]; these floats reach {float(pixels.detach().amax()):g}. A "
            f"set that mixes images of 8 and of 16 bits is stacked with snellen.core.deep_picture.stack_pixels, or "
            f"kept apart"
        )
    return pixels.to(torch.float32)


def to_image(tensor: Tensor) -> Image.Image:
    """A prepared image (3, h, w) in [0, 1], or bytes (3, h, w), back to a PIL image (rounded to 8 bits).

    >>> to_image(torch.ones(3, 2, 2)).getpixel((0, 0))
    (255, 255, 255)
    """
    pixels = tensor if tensor.dtype == torch.uint8 else tensor.detach().clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().contiguous().numpy(), mode=None)
