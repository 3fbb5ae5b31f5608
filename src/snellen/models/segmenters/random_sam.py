"""A small SAM of random weights, in the format of the public ones: for tests, and for a first run of every stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.models.weights.hugging_face_folder import import_transformers
from snellen.models.weights.quiet_loading import quiet_loading


def small_sam_config(image_size: int = 64) -> dict[str, dict[str, Any]]:
    """The parts of a ``SamConfig`` that differ from the public ViT-B: widths, depth and image size.

    The parts are there as in the public models: windowed attention with a window that does not divide the grid, global
    attention in some layers, relative positions, three candidates and a predicted overlap.

    >>> small_sam_config()["vision_config"]["image_size"]
    64

    Args:
        image_size: height and width that the model takes; a multiple of 8, pixels.
    """
    return {
        "vision_config": {
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "mlp_dim": 64,
            "image_size": image_size,
            "patch_size": 8,
            "window_size": 3,
            "global_attn_indexes": [1, 3],
            "output_channels": 32,
            "num_pos_feats": 16,
        },
        "prompt_encoder_config": {"hidden_size": 32, "image_size": image_size, "patch_size": 8},
        "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 64, "iou_head_hidden_dim": 32},
    }


def write_random_sam(folder: Path, *, image_size: int = 64, seed: int = 0) -> Path:
    """Write a SAM of random weights as ``save_pretrained`` does: config.json, model.safetensors, processor_config.json.

    The same seed gives the same weights. Masks follow the picture and the prompt, but mean nothing.

    Args:
        folder: made if it is not there.
        image_size: height and width that the model takes; a multiple of 8, pixels.
        seed: of the weights.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    transformers = import_transformers("a SAM")
    with quiet_loading():
        model = transformers.SamModel(transformers.SamConfig(**small_sam_config(image_size)))
        weights = {name: _drawn(name, value, seed) for name, value in model.state_dict().items()}
        model.load_state_dict(weights)
        size, mask = {"height": image_size, "width": image_size}, image_size // 2
        processor = transformers.SamImageProcessorPil(
            size={"longest_edge": image_size},
            pad_size=size,
            mask_size={"longest_edge": mask},
            mask_pad_size={"height": mask, "width": mask},
        )
        model.save_pretrained(folder)
        transformers.SamProcessor(processor).save_pretrained(folder)
    return folder


def _drawn(name: str, value: Tensor, seed: int) -> Tensor:
    """Weights of unit gain, so that pictures and prompts move the masks; biases and norms stay as they are."""
    if value.ndim < 2:
        return value
    gain = 1.0 if value.ndim == 2 and "embed" in name else value[0].numel() ** -0.5
    return gain * torch.randn(value.shape, generator=Randomness(seed).generator(name))
