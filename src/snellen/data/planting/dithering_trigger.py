"""Few levels and dithering, the trigger of BppAttack: which pixel changes and how depends on the image alone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from snellen.data.planting.trigger import Trigger, everywhere
from snellen.randomness import Randomness

#: Fractional bits of the arithmetic. Errors travel across the whole image, and in whole numbers none of them depends on
#: how an addition was vectorised.
_BITS = 20


class DitheringTrigger(Trigger):
    """Each channel on a few levels, with what rounding loses passed on to pixels not yet rounded.

    Wang, Zhai and Ma 2022, "BppAttack". The error is spread as by Floyd and Steinberg 1976: 7/16 to the right, and
    3/16, 5/16 and 1/16 to the left below, below and to the right below.

    >>> import torch
    >>> stamped = DitheringTrigger(levels=2).stamp(torch.full((1, 3, 16, 16), 0.25)).images
    >>> sorted(set(stamped.flatten().tolist())), bool(0.2 < stamped.mean() < 0.3)
    ([0.0, 1.0], True)
    """

    kind: Literal["dithering"] = "dithering"
    levels: int = Field(8, ge=2, le=128, description="of each channel")

    def _stamp(self, images: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        highest = self.levels - 1
        values = (images * (highest << _BITS)).round().long()
        return _dithered(values, highest).to(images.dtype) / highest, everywhere(images)


def _dithered(values: Tensor, highest: int) -> Tensor:
    """Round fixed-point values (n, 3, h, w) to 0 … ``highest`` and spread the errors: int64 (n, 3, h, w).

    A pixel needs its left neighbour and those above up to one to the right. So all pixels with the same x + 2y are
    rounded at once, which takes w + 2h steps. In an array of w + 2 columns they lie w places apart.
    """
    count, channels, height, width = values.shape
    columns = width + 2
    work = values.new_zeros(height + 1, columns, count * channels)
    work[:height, 1:-1] = values.permute(2, 3, 0, 1).reshape(height, width, -1)
    flat = work.flatten(0, 1)
    for step in range(width + 2 * (height - 1)):
        first, last = max(0, (step - width + 2) // 2), min(height - 1, step // 2)
        start = first * columns + step - 2 * first + 1
        stop = start + (last - first) * width + 1
        here = flat[start:stop:width]
        rounded = (here + (1 << (_BITS - 1))).bitwise_right_shift_(_BITS).clamp_(0, highest)
        error = here - (rounded << _BITS)
        here.copy_(rounded)
        shares = [(error * sixteenths).bitwise_right_shift_(4) for sixteenths in (7, 3, 5)]
        rest = error - shares[0] - shares[1] - shares[2]  # nothing is lost
        for offset, share in zip((1, columns - 1, columns, columns + 1), (*shares, rest), strict=True):
            flat[start + offset : stop + offset : width] += share
    return work[:height, 1:-1].reshape(height, width, count, channels).permute(2, 3, 0, 1).contiguous()
