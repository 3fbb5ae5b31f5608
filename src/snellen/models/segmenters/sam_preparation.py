"""How SAM (Kirillov et al. 2023) sees an image: the longer edge scaled, the rest padded, and the way back for masks.

Equal to ``SamImageProcessor`` of transformers (its PIL backend), against which :func:`translate` checks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.preparation import to_image
from snellen.core.randomness import Randomness

#: Widths and heights of the images on which the translation is compared with the processor.
_CHECKED = ((97, 61), (61, 143), (300, 301))


@dataclass(frozen=True)
class SamPreparation:
    """Resize, normalisation and padding of a SAM.

    >>> preparation = SamPreparation(longest_edge=64, padded=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3)
    >>> preparation.scaled_size(50, 70)
    (46, 64)
    >>> preparation(torch.zeros(3, 50, 70, dtype=torch.uint8)).shape
    torch.Size([3, 64, 64])

    Attributes:
        longest_edge: what the longer edge of an image is scaled to, pixels.
        padded: height and width after padding at the bottom and on the right, pixels.
        mean: of each channel, in units of bytes times ``factor``.
        std: of each channel, in the same units.
        factor: what bytes are multiplied by.
        resample: filter, as in ``PIL.Image.Resampling``.
    """

    longest_edge: int
    padded: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    factor: float = 1 / 255
    resample: int = Image.Resampling.BILINEAR

    def scaled_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width before padding: half pixels are rounded up."""
        scale = self.longest_edge * 1.0 / max(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Bytes (3, h, w) → normalised float32 (3, *padded). Padding is zero after the normalisation: mid grey."""
        height, width = self.scaled_size(*pixels.shape[-2:])
        resized = to_image(pixels).resize((width, height), Image.Resampling(self.resample))
        values = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() * self.factor
        mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (self.mean, self.std))
        return F.pad((values - mean) / std, (0, self.padded[1] - width, 0, self.padded[0] - height))

    def coordinates(self, places: Tensor, height: int, width: int) -> Tensor:
        """Points (…, 2) in pixels of an image of that size → pixels of what the model sees."""
        tall, wide = self.scaled_size(height, width)
        return places * torch.tensor([wide / width, tall / height], dtype=places.dtype, device=places.device)

    def to_original(self, masks: Tensor, height: int, width: int) -> Tensor:
        """Mask logits (m, c, s, s) of the model → (m, c, h, w) over the image, bilinear, without the padding."""
        tall, wide = self.scaled_size(height, width)
        whole = F.interpolate(masks, self.padded, mode="bilinear", align_corners=False)[..., :tall, :wide]
        return F.interpolate(whole, (height, width), mode="bilinear", align_corners=False)


def translate(processor: Any, *, name: str) -> SamPreparation:  # noqa: ANN401 - of an extra
    """Translate an image processor of transformers, and check the result against it on three images.

    Raises:
        InputError: a processor that is not one of SAM, or does something else.
    """
    if not hasattr(processor, "pad_size") or not getattr(processor.size, "longest_edge", None):
        raise InputError(f"{name}: its {type(processor).__name__} is not the image processor of a SAM")
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
    preparation = SamPreparation(
        longest_edge=int(processor.size.longest_edge),
        padded=(int(processor.pad_size["height"]), int(processor.pad_size["width"])),
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        factor=float(processor.rescale_factor) if processor.do_rescale else 1.0,
        resample=int(processor.resample),
    )
    if preparation.longest_edge > min(preparation.padded) or not _equal(processor, preparation):
        raise InputError(
            f"{name}: its {type(processor).__name__} does something else than scale the longer edge to "
            f"{preparation.longest_edge}, normalise and pad to {preparation.padded}"
        )
    return preparation


def _equal(processor: Any, preparation: SamPreparation) -> bool:  # noqa: ANN401 - of an extra
    """Whether both do the same to three images."""
    for index, (width, height) in enumerate(_CHECKED):
        noise = Randomness(0).for_examples([str(index)]).uniform("processor", (3, height, width))[0]
        pixels = noise.mul(255).round().to(torch.uint8)
        theirs = processor(images=to_image(pixels), return_tensors="pt")
        ours, wanted = preparation(pixels), theirs["pixel_values"][0]
        if (
            tuple(theirs["reshaped_input_sizes"][0].tolist()) != preparation.scaled_size(height, width)
            or ours.shape != wanted.shape
            or float((ours - wanted).abs().max()) > 1e-5 * max(1.0, float(wanted.abs().max()))
        ):
            return False
    return True
