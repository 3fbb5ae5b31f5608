"""Apply a segmenter at the native size: overlapping windows, averaged logits, and no resize before the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit

#: Side of a window as a default for images of usual size, pixels.
WINDOW = 512


@dataclass(frozen=True, eq=False)
class Regions:
    """What a segmenter found in one image.

    Attributes:
        labels: uint8 (h, w), the editor of each pixel by the head of editors.
        edited: float32 (h, w), probability of "edited" by that head: 1 − p(untouched).
        binary: float32 (h, w), the same by the binary head.
    """

    labels: NDArray[np.uint8]
    edited: NDArray[np.float32]
    binary: NDArray[np.float32]

    @property
    def share(self) -> float:
        """s(x): the share of pixels that are predicted as edited."""
        return float((self.labels > 0).mean())


def places(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side: each pixel is covered, and the last window ends at the end.

    >>> places(10, 4, 3), places(3, 4, 3)
    ([0, 3, 6], [0])
    """
    if not 1 <= stride <= window:
        raise InputError(
            f"a stride lies between 1 and the window of {window} pixels, so that none is left out: {stride}"
        )
    if length <= window:
        return [0]
    return [*range(0, length - window, stride), length - window]


@torch.no_grad()
def window_logits(
    network: nn.Module, images: Tensor, *, window: int = WINDOW, stride: int | None = None
) -> tuple[Tensor, Tensor]:
    """Mean logits over the windows that cover each pixel: (n, k, h, w) and (n, h, w).

    Args:
        network: in evaluation mode; gives logits of labels and of "edited".
        images: float (n, 3, h, w) in [0, 1], at their native size.
        window: side of a window, pixels.
        stride: step between windows, pixels; three quarters of the window by default, as 384 of 512.
    """
    stride = max(1, window * 3 // 4) if stride is None else stride
    height, width = images.shape[2:]
    sums: Tensor | None = None
    counts = torch.zeros(height, width, device=images.device)
    for top in places(height, window, stride):
        for left in places(width, window, stride):
            part = images[:, :, top : top + window, left : left + window]
            labels, edited = network(part)
            both = torch.cat([labels, edited[:, None]], 1)
            sums = images.new_zeros(len(images), both.shape[1], height, width) if sums is None else sums
            sums[:, :, top : top + window, left : left + window] += both
            counts[top : top + window, left : left + window] += 1
    assert sums is not None
    mean = sums / counts
    return mean[:, :-1], mean[:, -1]


def found_regions(
    network: nn.Module, images: Tensor, *, window: int = WINDOW, stride: int | None = None
) -> list[Regions]:
    """Regions of byte images of one size, (n, 3, h, w). The network's own mode is restored afterwards."""
    device, training = next(network.parameters()).device, network.training
    network.eval()
    try:
        labels, edited = window_logits(network, to_unit(images).to(device), window=window, stride=stride)
    finally:
        network.train(training)
    return [
        Regions(
            labels=each.argmax(0).to(torch.uint8).cpu().numpy(),
            edited=(1 - each.softmax(0)[0]).float().cpu().numpy(),
            binary=two.sigmoid().float().cpu().numpy(),
        )
        for each, two in zip(labels, edited, strict=True)
    ]


def in_batches(network: nn.Module, images: Tensor, *, batch_size: int = 32, window: int = WINDOW) -> Iterator[Regions]:
    """Regions of many byte images (n, 3, h, w), one after the other."""
    for part in images.split(batch_size):
        yield from found_regions(network, part, window=window)
