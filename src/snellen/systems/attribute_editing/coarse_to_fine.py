"""A ring around the object stays too in the noisy steps, and is set free later: coarse to fine.

In the published editor the object's mask is dilated by 51 pixels while more than 50 steps are left, by 31 while more
than 35 are, and not at all after, in pictures of 256 pixels. With the 25 steps of the published data it never acts.
"""

from __future__ import annotations

from torch import Tensor

from snellen.methods.edits.masked_object import widened
from snellen.models.diffusion.editor import Blending, covering_mask
from snellen.models.diffusion.sampler import LatentHook, Moment

#: Steps that are left, and the window of the dilation in pixels of a picture of 256.
WINDOWS = ((50, 51), (35, 31))


class CoarseToFine(LatentHook):
    """Puts the reference back in a ring around the object, as long as many steps are left.

    Args:
        reference: latents of the pictures with the object, (n, c, h, w).
        masks: bool (n, 1, H, W), the object.
        noise: of the run's start, as in :class:`snellen.models.diffusion.editor.Blending`.
        factor: pixels of a latent in each direction.
    """

    def __init__(self, reference: Tensor, masks: Tensor, noise: Tensor, factor: int) -> None:
        side = max(masks.shape[2:])
        self._stages = [
            (left, Blending(reference, covering_mask(~widened(masks, round((window - 1) * side / 512)), factor), noise))
            for left, window in WINDOWS
        ]

    def before(self, moment: Moment) -> Tensor | None:
        """The ring put back before the first step of a run."""
        stage = self._stage(moment.steps - moment.index)
        return None if stage is None else stage.before(moment)

    def after(self, moment: Moment) -> Tensor | None:
        """The ring put back after a step."""
        stage = self._stage(moment.steps - moment.index - 1)
        return None if stage is None else stage.after(moment)

    def _stage(self, left: int) -> Blending | None:
        return next((stage for most, stage in self._stages if left > most), None)
