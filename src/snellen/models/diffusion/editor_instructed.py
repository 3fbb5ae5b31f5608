"""Edits by instruction: e = e(∅, ∅) + s_I (e(I, ∅) − e(∅, ∅)) + s_T (e(I, T) − e(I, ∅)), for an image I and a text T.

Brooks, Holynski and Efros, *InstructPix2Pix*, CVPR 2023, arXiv 2211.09800, equation 3. The pipeline of diffusers does
it, from the parts of a folder that are loaded as everywhere here; its scheduler is Euler's ancestral one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snellen.core.errors import InputError, import_extra
from snellen.models.diffusion.folder import load_network, load_tokenizer, read_folder
from snellen.models.diffusion.text_encoding import TextTower
from snellen.models.weights.devices import resolve_device
from snellen.models.weights.quiet_loading import quiet_loading

#: The pipeline whose folder is read.
PIPELINE = "StableDiffusionInstructPix2PixPipeline"

#: Sides of images are multiples of this, pixels.
MULTIPLE = 8


@dataclass(frozen=True, eq=False)
class InstructedEditor:
    """Edits images as an instruction says.

    Args:
        name: its reference.
        pipeline: of diffusers.
        steps: of the sampler.
        guidance_scale: s_T, towards the instruction.
        image_guidance_scale: s_I, towards the image.
    """

    name: str
    pipeline: Any
    steps: int = 100
    guidance_scale: float = 7.5
    image_guidance_scale: float = 1.5

    @torch.no_grad()
    def edit(self, images: Tensor, instructions: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Edited images, float32 (n, 3, h, w) in [0, 1], on the CPU.

        Args:
            images: (n, 3, h, w) in [0, 1]; h and w are multiples of 8.
            instructions: one for each.
            seeds: of the noise of each.

        Raises:
            InputError: images of another shape or size, or an instruction that is too long.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % MULTIPLE or images.shape[3] % MULTIPLE:
            raise InputError(
                f"{self.name} edits images (n, 3, h, w) whose sides are multiples of {MULTIPLE}; got "
                f"{tuple(images.shape)}"
            )
        tower = TextTower(
            self.pipeline.tokenizer,
            self.pipeline.text_encoder,
            min(
                int(self.pipeline.tokenizer.model_max_length), self.pipeline.text_encoder.config.max_position_embeddings
            ),
        )
        tower.tokens(instructions)
        with quiet_loading():
            made = self.pipeline(
                prompt=list(instructions),
                image=images.to(self.pipeline.unet.device, self.pipeline.unet.dtype),
                num_inference_steps=self.steps,
                guidance_scale=self.guidance_scale,
                image_guidance_scale=self.image_guidance_scale,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds],
                output_type="pt",
            ).images
        edited: Tensor = made.float().cpu().clamp(0, 1)
        return edited


def load_instructed_editor(
    ref: str, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32, steps: int = 100
) -> InstructedEditor:
    """Load a folder that the pipeline wrote, such as InstructPix2Pix; nothing is downloaded, and no pickle is read.

    Args:
        ref: ``diffusers:FOLDER``.
        device: where it runs.
        dtype: of the weights.
        steps: of the sampler.

    Raises:
        InputError: another reference, or a folder of another pipeline.
        MissingExtraError: diffusers or transformers is not installed.
    """
    scheme, _, rest = ref.partition(":")
    if scheme != "diffusers" or not rest:
        raise InputError(f"{ref!r} is no editor by instruction; expected diffusers:FOLDER of {PIPELINE}")
    folder = read_folder(rest)
    if folder.pipeline != PIPELINE:
        raise InputError(f"{rest} is of {folder.pipeline or 'a bare network'}; expected {PIPELINE}")
    diffusers = import_extra("diffusers", "diffusion", "an editor by instruction")
    where = resolve_device(device)
    networks = {name: load_network(folder.parts[name], where, dtype) for name in ("vae", "text_encoder", "unet")}
    with quiet_loading():
        pipeline = getattr(diffusers, PIPELINE)(
            **networks,
            tokenizer=load_tokenizer(folder.parts["tokenizer"]),
            scheduler=diffusers.EulerAncestralDiscreteScheduler.from_config(dict(folder.scheduler)),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return InstructedEditor(f"diffusers:{Path(rest).name}", pipeline, steps)
