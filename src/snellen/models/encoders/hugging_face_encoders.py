"""``hf:FOLDER`` of an image model without a head: DINO and other backbones of transformers, and the image side of SAM.

The vector of an image is that of its class token behind the last norm, which is what DINO (Caron et al., ICCV 2021)
evaluates; for convolutional networks it is the pooled map.

SAM was trained to find the edges of objects, and on no classes. Images that are not square are padded on both sides
here, and at the bottom or on the right by SAM itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.hugging_face_models import translate
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.segmenters.sam_segmenters import translate as translate_sam
from snellen.models.weights.hugging_face_folder import (
    check_folder,
    import_transformers,
    load_image_processor,
    load_network,
)

#: Model types whose first token is the class token; DINO's own folders are ``vit``.
CLASS_TOKEN = ("vit", "deit", "dinov2", "dinov2_with_registers", "dinov3_vit", "vit_msn")

#: Model types that pool a map.
POOLED = ("resnet", "regnet", "convnext", "convnextv2", "dinov3_convnext", "swin", "swinv2")


class _ClassToken(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) → (n, d)."""
        tokens: Tensor = self.model(pixel_values=images).last_hidden_state
        return tokens[:, 0]


class _PooledMap(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) → (n, d)."""
        pooled: Tensor = self.model(pixel_values=images).pooler_output
        return pooled.flatten(1)


def load(
    folder: Path,
    config: Any,  # noqa: ANN401 - of an extra
    device: torch.device,
    *,
    name: str,
    configuration: str,
) -> FrozenEncoder:
    """Load the backbone of a folder as ``save_pretrained`` writes it, with its image processor.

    A pooling layer of a vision transformer may be missing: nothing reads it, and DINO has none.

    Raises:
        InputError: missing files, weights that do not fit, or a type of model whose vector is not known.
    """
    check_folder(folder)
    if config.model_type not in (*CLASS_TOKEN, *POOLED):
        raise InputError(
            f"{folder} holds a model of type {config.model_type!r}; image encoders are {', '.join(CLASS_TOKEN)} (class "
            f"token) and {', '.join(POOLED)} (pooled map), classifiers, and text–image models"
        )
    transformers = import_transformers(name)
    tokens = config.model_type in CLASS_TOKEN
    unused = ("pooler", "embeddings.mask_token") if tokens else ()
    model = load_network(transformers.AutoModel, folder, what="an image encoder", unused=unused)
    if tokens and getattr(model, "pooler", None) is not None:
        model.pooler = None  # random where the file has none, and read by nobody: no part of the identity
    preparation, normalization = translate(load_image_processor(transformers, folder), name=folder.name)
    return FrozenEncoder(
        name=name,
        network=_ClassToken(model) if tokens else _PooledMap(model),
        preparation=preparation,
        normalization=normalization,
        layer="class token" if tokens else "pooled map",
        configuration=configuration,
        device=device,
    )


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
    seen = translate_sam(load_image_processor(transformers, folder), name=name)
    mean, std = (tuple(value / (255 * seen.factor) for value in values) for values in (seen.mean, seen.std))
    red, green, blue = mean
    return FrozenEncoder(
        name=name,
        network=_MeanOfMap(model.vision_encoder),
        preparation=Preprocessing(
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
