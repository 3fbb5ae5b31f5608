"""Views of images that are drawn once, so that a step of a training finds them instead of changing pixels anew.

An instance is its number, a row of one entry; its pixels and its views lie in a bank. Views of numbers are
rows of pixels. The encoder takes numbers as the images themselves, and rows of pixels as what they are. To change
colours costs more than the network that sees them; out of a bank, every way sees the same views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.systems.multiple_instance.feature_views import Views
from snellen.systems.multiple_instance.image_instances import ImageEncoder

#: Images whose views are drawn together.
_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class ViewBank:
    """Images by number, and views of those that are trained on.

    Args:
        pixels: of all images, uint8 (n, 3·side²).
        drawn: by kind, ``strong`` or ``weak``, views of the first m images, uint8 (m, v, 3·side²).
    """

    pixels: Tensor
    drawn: Mapping[str, Tensor]

    @classmethod
    def of(cls, pixels: Tensor, shown: int, views: Views, counts: Mapping[str, int], rng: Randomness) -> ViewBank:
        """Draw the views of the first images.

        Args:
            pixels: of all images, uint8 (n, 3·side²).
            shown: m, the images that have views.
            views: rows of pixels in [0, 1] → one view of each.
            counts: by kind, how many of each image.
            rng: of every view its own.
        """
        return cls(
            pixels,
            {kind: _drawn(pixels[:shown], kind, count, views, rng) for kind, count in counts.items()},
        )

    def __deepcopy__(self, memo: object) -> ViewBank:
        # A network is copied with its bank: the images stay where they are.
        return self

    def views(self, numbers: Tensor, rng: Randomness, name: str) -> Tensor:
        """One view of each, rows of pixels in [0, 1], (n, 3·side²).

        Args:
            numbers: of the images, (n, 1).
            rng: randomness of the step, which takes one of the drawn views for each.
            name: of the view; all but ``strong`` are of the kind ``weak``.
        """
        drawn = self.drawn["strong" if name == "strong" else "weak"]
        taken = torch.randint(drawn.shape[1], (len(numbers),), generator=rng.generator(f"view {name}"))
        return to_unit(drawn[numbers[:, 0].long(), taken])

    def images(self, numbers: Tensor) -> Tensor:
        """The images themselves, rows of pixels in [0, 1]: (…, 1) → (…, 3·side²)."""
        return to_unit(self.pixels[numbers[..., 0].long()])


class BankEncoder(nn.Module):
    """Numbers of images, (…, 1), or rows of pixels, (…, 3·side²) → vectors (…, width).

    Args:
        network: images (n, 3, side, side) in [0, 1] → vectors (n, width).
        side: height and width of the images, pixels.
        bank: holds the images.
    """

    def __init__(self, network: nn.Module, side: int, bank: ViewBank) -> None:
        super().__init__()
        self.encoder, self.bank = ImageEncoder(network, side), bank

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors of all images at once."""
        vectors: Tensor = self.encoder(self.bank.images(rows) if rows.shape[-1] == 1 else rows)
        return vectors


def _drawn(pixels: Tensor, kind: str, count: int, views: Views, rng: Randomness) -> Tensor:
    found = torch.empty(len(pixels), count, pixels.shape[1], dtype=torch.uint8)
    for number in range(count):
        for part, rows in enumerate(torch.arange(len(pixels)).split(_AT_ONCE)):
            shown = views(to_unit(pixels[rows]), rng.child("bank", number, part), kind)
            found[rows, number] = (shown * 255).round().to(torch.uint8)
    return found
