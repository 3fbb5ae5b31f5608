"""Image to image: a picture is noised for a share of the steps, and denoised again under a prompt.

C. Meng et al., *SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations* (ICLR 2022). The
strength decides how much of the picture is left: at 1 next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from snellen.core.errors import InputError
from snellen.methods.generation.generator_call import GeneratorCall
from snellen.methods.generation.sample import Sample


class Variation(Sample):
    """Noise each image for a share of the steps, and denoise it under its class or prompt (SDEdit)."""

    name: ClassVar[str] = "variation"

    strength: float = Field(
        0.6, gt=0, le=1, description="share of the steps that is made; 1 leaves next to nothing of the image"
    )

    def start(self, requested: GeneratorCall, requests: Sequence[Mapping[str, Any]]) -> tuple[Tensor, float]:
        """The images of the requests, at the generator's size.

        Raises:
            InputError: a request without an image.
        """
        height, width = requested.generator.image_size
        pixels = []
        for request in requests:
            image = request.get("image")
            if not isinstance(image, Image.Image):
                raise InputError(
                    f"request {request.get('id')!r} has no image to start from; request images by reference, such as "
                    f"a folder"
                )
            resized = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
            pixels.append(torch.from_numpy(np.array(resized)).permute(2, 0, 1))
        return torch.stack(pixels).float() / 255, self.strength

    def source_of(self, request: Mapping[str, Any]) -> str:
        """The image itself."""
        return str(request.get("source", request.get("id")))
