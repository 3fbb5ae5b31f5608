"""A tiny inpainting model with random weights, as a folder in the exact form of the public ones."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from snellen.core.errors import import_extra
from snellen.core.randomness import Randomness
from snellen.models.diffusion.smoke import SMOKE_FOLDERS, fill
from snellen.models.weights.quiet_loading import quiet_loading


def write_inpainting_smoke_folder(folder: str | Path, *, seed: int = 0) -> Path:
    """Write the smoke generator ``stable-diffusion-1.5`` with a network that takes nine channels.

    The same seed gives the same bytes of weights. Needs the extra ``diffusion``.

    Raises:
        MissingExtraError: diffusers or transformers is not installed.
    """
    diffusers = import_extra("diffusers", "diffusion", "the smoke folder of an inpainting model")
    transformers = import_extra("transformers", "diffusion", "the smoke folder of an inpainting model")
    target = Path(folder)
    with quiet_loading():
        # Put back at the end of the block. Libraries draw biases, which are only moved a little below.
        torch.default_generator.manual_seed(0)
        plain = SMOKE_FOLDERS["stable-diffusion-1.5"](diffusers, transformers)
        network = diffusers.UNet2DConditionModel.from_config({**plain.unet.config, "in_channels": 9})
        parts = {**plain.components, "unet": network}
        for name, part in sorted(parts.items()):
            if isinstance(part, nn.Module):
                fill(part, Randomness(seed).child("smoke", "inpainting", name))
        parts.pop("image_encoder", None)
        pipeline = diffusers.StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
        pipeline.save_pretrained(target, safe_serialization=True)
    return target
