"""Images as conditions: the state of a picture in the image encoder of an image-variation model, as its one token.

Image-variation models (a Stable Diffusion that was trained on with embeddings of CLIP in place of texts) read the
projected state of a CLIP vision tower. "No image" is zeros, as in diffusers' ``StableDiffusionImageVariationPipeline``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.models.diffusion.condition import Condition

#: Of CLIP, where a folder does not give its own.
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, eq=False)
class ImageEncoding:
    """A vision tower with its preprocessing.

    Args:
        network: with a projection, of the transformers library.
        side: height and width of what it reads, pixels.
        mean, deviation: that pixels in [0, 1] are normalised by, for each colour.
    """

    network: nn.Module
    side: int
    mean: tuple[float, ...] = MEAN
    deviation: tuple[float, ...] = DEVIATION

    def pixels(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures of any size as what the tower reads, float32 (n, 3, side, side): resized, cropped, normalised."""
        found = []
        for picture in pictures:
            scale = self.side / min(picture.size)
            size = tuple(max(self.side, int(length * scale)) for length in picture.size)
            resized = picture.convert("RGB").resize((size[0], size[1]), Image.Resampling.BICUBIC)
            left, top = (size[0] - self.side) // 2, (size[1] - self.side) // 2
            square = resized.crop((left, top, left + self.side, top + self.side))
            found.append(torch.from_numpy(np.array(square)).permute(2, 0, 1))
        mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.deviation))
        return (torch.stack(found).float() / 255 - mean) / deviation

    def encode(self, pictures: Sequence[Image.Image]) -> Condition:
        """One row of one token for each picture.

        Raises:
            InputError: no picture, or something else.
        """
        if not pictures or not all(isinstance(one, Image.Image) for one in pictures):
            raise InputError("a generator of image variations takes pictures (PIL), one for each image")
        parameter = next(self.network.parameters())
        with torch.no_grad():
            states = self.network(self.pixels(pictures).to(parameter)).image_embeds
        return Condition(count=len(pictures), text=states[:, None, :])

    def null(self, count: int) -> Condition:
        """No picture, ``count`` times."""
        parameter = next(self.network.parameters())
        width = int(self.network.config.projection_dim)  # type: ignore[union-attr, arg-type]
        return Condition(count=count, text=torch.zeros(count, 1, width).to(parameter))
