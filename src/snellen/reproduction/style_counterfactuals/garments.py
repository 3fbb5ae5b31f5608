"""The same study on real images: two kinds of garments of Fashion-MNIST, whose traits nobody wrote down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snellen.core.images import Split
from snellen.data.files.bundled import FASHION_CLASSES
from snellen.reproduction.shared.fashion_mnist import fashion_mnist

#: They differ in the length of their sleeves, and in little else.
KINDS = ("T-shirt/top", "Pullover")

#: Black around the 28 pixels of an image, to the 32 of the generator.
MARGIN = 2


@dataclass(frozen=True, eq=False)
class Garments:
    """Images of both kinds.

    Attributes:
        images: uint8 (n, 3, 32, 32), all channels equal.
        labels: int64 (n,), positions in :data:`KINDS`.
    """

    images: Tensor
    labels: Tensor


def draw_garments(split: Split, count: int, generator: torch.Generator) -> Garments:
    """Draw images of a split without repetition.

    Raises:
        InputError: Fashion-MNIST is not installed.
    """
    every = fashion_mnist(split)
    wanted = [FASHION_CLASSES.index(name) for name in KINDS]
    rows = np.flatnonzero(np.isin(every.labels, wanted))
    rows = rows[torch.randperm(len(rows), generator=generator)[:count].numpy()]
    pixels = torch.from_numpy(np.stack([np.asarray(every.read(int(row)).convert("RGB")) for row in rows]))
    padded = torch.nn.functional.pad(pixels.permute(0, 3, 1, 2), (MARGIN,) * 4)
    return Garments(padded.contiguous(), torch.tensor([wanted.index(int(every.labels[row])) for row in rows]))
