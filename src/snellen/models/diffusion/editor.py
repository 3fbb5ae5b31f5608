"""Editors: change a masked part of pictures and leave the rest.

A mask is 1 where a picture may change and 0 where it stays; nothing between. Two editors exist:
:class:`snellen.models.diffusion.editor_blended.BlendedEditor` for any generator, and
:class:`snellen.models.diffusion.editor_inpainting.InpaintingEditor` for networks that were trained to see the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from snellen.core.errors import InputError
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.guidance import GuidanceTerm, classifier_free
from snellen.models.diffusion.sampler import Sampler


class Editor(Protocol):
    """Something that paints new content into the masked part of pictures."""

    def edit(self, images: Tensor, masks: Tensor, prompts: Sequence[str] | None, seeds: Sequence[int]) -> Tensor:
        """Edit pictures; the same seed gives the same edit, whatever else is in the batch.

        Args:
            images: float (n, c, h, w) in [0, 1].
            masks: (n, 1, h, w), bool or 0 and 1; 1 is changed, 0 stays.
            prompts: what shall be there, one for each picture; None for an editor that takes none.
            seeds: one for each picture.

        Returns:
            Float32 (n, c, h, w) in [0, 1], on the device of ``images``.
        """
        ...


def check_edit(images: Tensor, masks: Tensor, seeds: Sequence[int]) -> Tensor:
    """Check what an editor was given, and return the masks as bool (n, 1, h, w).

    >>> check_edit(torch.rand(1, 3, 2, 2), torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]]), [0]).sum()
    tensor(1)

    Raises:
        InputError: images that are not float (n, c, h, w) in [0, 1]; masks of another shape, with other values than 0
            and 1, or empty; another number of seeds.
    """
    if images.ndim != 4 or not images.is_floating_point() or not len(images):
        raise InputError(f"images are float (n, c, h, w), at least one; got {images.dtype} {tuple(images.shape)}")
    if not bool(((images >= -1e-6) & (images <= 1 + 1e-6)).all()):
        raise InputError(f"images are in [0, 1]; got {float(images.min()):.4g} to {float(images.max()):.4g}")
    wanted = (len(images), 1, *images.shape[2:])
    if tuple(masks.shape) != wanted:
        raise InputError(
            f"masks for images {tuple(images.shape)} have shape {wanted}, one for each image; got {tuple(masks.shape)}"
        )
    if not bool(((masks == 0) | (masks == 1)).all()):
        raise InputError("a mask has the values 1 (change) and 0 (stay) only; compare it with a threshold first")
    empty = [row for row, mask in enumerate(masks) if not bool(mask.any())]
    if empty:
        raise InputError(f"the masks of images {empty[:8]} are empty: there is nothing to edit; leave these images out")
    if len(seeds) != len(images):
        raise InputError(f"{len(images)} images came with {len(seeds)} seeds; give one for each image")
    return masks.to(images.device).bool()


def check_strength(sampler: Sampler, strength: float) -> None:
    """Refuse a share of the steps that leaves none (InputError)."""
    if not 0 < strength <= 1 or int(sampler.steps * strength) < 1:
        raise InputError(
            f"strength is the share of the {sampler.steps} steps that are made, in (0, 1], and at least one step; got "
            f"{strength}"
        )


def covering_mask(masks: Tensor, factor: int) -> Tensor:
    """Masks of pixels as masks of latents, float32: a latent is free where *any* of its pixels is.

    >>> covering_mask(torch.tensor([[[[True, False, False, False], [False] * 4]]]), 2)
    tensor([[[[1., 0.]]]])

    Args:
        masks: (n, 1, h, w).
        factor: pixels of a latent in each direction.
    """
    return functional.max_pool2d(masks.float(), factor) if factor > 1 else masks.float()


def sampled_mask(masks: Tensor, factor: int) -> Tensor:
    """Masks of pixels as masks of latents, float32: the pixel in the upper left corner decides, as in diffusers.

    >>> sampled_mask(torch.tensor([[[[True, False, False, True], [False] * 4]]]), 2)
    tensor([[[[1., 0.]]]])
    """
    return masks[:, :, ::factor, ::factor].float()


def pasted(edited: Tensor, images: Tensor, masks: Tensor) -> Tensor:
    """Edited pictures with the pixels outside of the masks put back, bit for bit."""
    return torch.where(masks, edited, images.float())


def batches(count: int, batch_size: int) -> list[range]:
    """Positions of the images of each batch.

    >>> batches(5, 2)
    [range(0, 2), range(2, 4), range(4, 5)]

    Raises:
        InputError: a batch size below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is at least 1; got {batch_size}")
    return [range(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]


def conditions(
    generator: Generator, prompts: Sequence[str] | None, condition: Condition | None, negative: str, images: Tensor
) -> tuple[Condition, Condition | None]:
    """What a generator is told about the pictures, and what it is guided away from (None: there is no such thing).

    Args:
        generator: the model.
        prompts: one for each image, for a generator that takes prompts.
        condition: one row for each image, instead of prompts.
        negative: the prompt to guide away from; empty for the generator's own "nothing".
        images: (n, c, h, w).

    Raises:
        InputError: prompts for a generator that takes none, or none for one that does; another number than images.
    """
    count, size = len(images), (images.shape[2], images.shape[3])
    if condition is None:
        if generator.takes == "classes":
            raise InputError(f"{generator.name} takes classes: give condition=generator.encode_classes(ids)")
        if generator.takes == "nothing" and prompts is None:
            return Condition(count=count), None
        if prompts is None or isinstance(prompts, str) or len(prompts) != count:
            came = "none" if prompts is None else repr(prompts) if isinstance(prompts, str) else str(len(prompts))
            raise InputError(f"a list of prompts has one for each of the {count} images; got {came}")
        condition = generator.encode_prompts(list(prompts), size=size)
    elif prompts is not None or len(condition) != count:
        raise InputError(f"a condition has a row for each of the {count} images, and comes instead of prompts")
    if negative:
        return condition, generator.encode_prompts([negative] * count, size=size)
    no_null = generator.takes == "nothing" or (generator.takes == "classes" and generator.null_class is None)
    return condition, None if no_null else generator.null(count, size=size)


def guided(scale: float, reference: Condition | None, generator: Generator) -> list[GuidanceTerm]:
    """Classifier-free guidance of a batch; nothing at scale 1.

    Raises:
        InputError: guidance of a generator that has nothing to be guided away from.
    """
    if scale == 1:
        return []
    if reference is None:
        raise InputError(f"{generator.name} has no 'nothing' to guide away from: its guidance_scale is 1; got {scale}")
    return [classifier_free(scale, reference)]
