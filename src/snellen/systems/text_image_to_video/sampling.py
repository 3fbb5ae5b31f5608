"""Euler steps from noise to a video, x ← x + (tᵢ₊₁ − tᵢ)·F̂, with given frames put back before each of them.

Z. Lin et al. 2024, arXiv 2412.07730 (STIV). All passes of guidance go through the network as one batch. The paper does
not say what the unconditional pass sees in place of a given frame; ``reference_frame`` offers both readings.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.systems.text_image_to_video.flow import check_generated, on_path, replace_frames, shifted
from snellen.systems.text_image_to_video.guidance import Norm, Pass, guided, renormalised

#: What stands in place of a given frame where the image is dropped: the given frame with as much of its own noise as
#: the time says, or a frame that is generated along by the unconditional prediction.
ReferenceFrame = Literal["noised", "tracked"]

#: Velocities of videos (m, F, c, h, w) at times (m,), with text or without (m,), and with given frames or without
#: (m,); rows of a batch of n videos are repeated for each pass: row k·n + i is video i in pass k.
Predict = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def sample_videos(
    predict: Predict,
    noise: Tensor,
    clean: Tensor,
    replaced: Tensor,
    guidance: tuple[Pass, ...],
    *,
    steps: int,
    shift: float = 1.0,
    norm: Norm = "none",
    reference_frame: ReferenceFrame = "noised",
    in_place: bool = True,
) -> Tensor:
    """Generate videos: float (n, F, c, h, w).

    Args:
        predict: the network.
        noise: ε, float (n, F, c, h, w).
        clean: given frames, of the same shape; read where ``replaced`` is true.
        replaced: frames that are given, bool (n, F); none of a video: text to video.
        guidance: passes, the conditional one first.
        steps: of equal length, before they are shifted.
        shift: how far they lie nearer to noise; 1: not at all.
        norm: how a guided prediction is renormalised.
        reference_frame: what a pass without image sees in place of a given frame.
        in_place: frames enter by replacement; False where the network takes the image another way and makes all of its
            frames itself.

    Raises:
        InputError: no step, or a video whose frames are all given.
    """
    if steps < 1:
        raise InputError(f"a sampler makes one step or more; got {steps}")
    check_generated(replaced)
    count, many = len(noise), len(guidance)
    held = replaced if in_place else torch.zeros_like(replaced)
    videos, times = noise, shifted(torch.linspace(0, 1, steps + 1, device=noise.device), shift)
    with_text = torch.tensor([one.text for one in guidance], device=noise.device).repeat_interleave(count)
    with_image = torch.tensor([one.image for one in guidance], device=noise.device).repeat_interleave(count)
    unconditional = next((k for k, one in enumerate(guidance) if not one.image), None)
    for here, there in pairwise(times):
        now = here.expand(count)
        shown = replace_frames(videos, clean, held)
        without = videos
        if reference_frame == "noised":
            without = replace_frames(videos, on_path(clean, noise, now), held)
        stacked = torch.cat([shown if one.image else without for one in guidance])
        found = predict(stacked, here.expand(many * count), with_text, with_image).split(count)
        change = renormalised(guided(found, [one.weight for one in guidance]), found[0], norm, ~held)
        if unconditional is not None:  # given frames are generated along by the pass that does not see them
            change = replace_frames(change, found[unconditional], held)
        videos = videos + (there - here) * change
    return replace_frames(videos, clean, held)
