"""What lies behind objects in three dimensions: white, a plain colour, or one of the grounds of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.backgrounds import background
from snellen.data.worlds.optotypes.lattice_noise import uniform

Ground = Literal["white", "plain", "grey", "grass", "sand", "brick", "water", "night"]

GROUNDS: tuple[Ground, ...] = get_args(Ground)


@dataclass(frozen=True, kw_only=True)
class Grounds:
    """A ground for each row of a set (a :class:`~snellen.data.worlds.view_set.Backdrop`).

    >>> Grounds(names=("white", "sand"), seeds=(1, 2), size=16).pictures([0]).shape
    torch.Size([1, 3, 16, 16])

    Attributes:
        names: of each row.
        seeds: of each row, at least 0: what tells two grounds of one name apart.
        size: height and width, pixels.
    """

    names: tuple[Ground, ...]
    seeds: tuple[int, ...]
    size: int

    def pictures(self, rows: Sequence[int]) -> Tensor:
        """Pictures of some rows, float32 (m, 3, h, w) in [0, 1]."""
        place = (torch.arange(self.size) + 0.5) * (2 / self.size) - 1
        across, down = place[None, None].expand(1, self.size, -1), place[None, :, None].expand(1, -1, self.size)
        seeds = torch.tensor([self.seeds[row] for row in rows], dtype=torch.int64)
        names = [self.names[row] for row in rows]
        found = torch.ones(len(names), 3, self.size, self.size)
        for name in sorted(set(names)):
            index = torch.tensor([position for position, other in enumerate(names) if other == name])
            if name == "plain":
                # Light colours: the object is not lost before them, and neither is its shadow.
                found[index] = (uniform(seeds[index], "plain ground", 3) * 0.5 + 0.5)[:, :, None, None]
            elif name != "white":
                found[index] = background(name, seeds[index], across, down)
        return found

    def recipe(self, row: int) -> str:
        """Text that says everything the picture of a row follows from."""
        return f"{self.names[row]} {self.seeds[row]}"
