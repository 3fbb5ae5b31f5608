"""The image side of a SAM as an encoder: the mean over places of the map that its decoder of masks reads.

It was trained to find the edges of objects, and on no classes. Images that are not square are padded on both sides
here, and at the bottom or on the right by SAM itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.preparation import Preparation
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.segmenters.sam_segmenters import translate
from snellen.models.weights.hugging_face_folder import import_transformers, load_image_processor, load_network


class _MeanOfMap(nn.Module):
    """Square images (n, 3, h, h), padded to what the network takes → (n, d)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """Encode."""
        found: Tensor = self.encoder(pixel_values=images).last_hidden_state
        return found.mean((2, 3))


def load_sam_encoder(folder: Path, device: torch.device, *, name: str, configuration: str) -> FrozenEncoder:
    """Load the image side of a SAM from its folder.

    Raises:
        InputError: missing files, or weights that do not fit.
    """
    transformers = import_transformers(name)
    model: Any = load_network(transformers.SamModel, folder, what="a SAM")
    seen = translate(load_image_processor(transformers, folder), name=name)
    mean, std = (tuple(value / (255 * seen.factor) for value in values) for values in (seen.mean, seen.std))
    red, green, blue = mean
    return FrozenEncoder(
        name=name,
        network=_MeanOfMap(model.vision_encoder),
        preparation=Preparation(
            size=seen.padded,
            resize="longer",
            resize_to=(seen.longest_edge, seen.longest_edge),
            fill=(round(255 * red), round(255 * green), round(255 * blue)),
        ),
        normalization=Normalization(mean, std),
        layer="mean of the map",
        configuration=configuration,
        device=device,
    )
