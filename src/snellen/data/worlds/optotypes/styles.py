"""How a scene is rendered: like a photograph, as a line drawing, in dots of ink, or as a negative."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.factors import Style
from snellen.data.worlds.optotypes.lattice_noise import cell_values
from snellen.data.worlds.stable_arithmetic import blend, length

#: Toned paper, on which white can be drawn too, and how much of a background is left on it, by style.
PAPER = (0.80, 0.76, 0.67)
WASH: dict[Style, float] = {"line": 0.30, "stippled": 0.55}

#: Width of a line and distance of the dots of ink, in half sides of the image.
LINE, DOT = 0.06, 0.085

#: Share of ink where the image differs most from the paper, and where it is like it.
_DENSEST, _SPARSEST = 0.97, 0.25


@dataclass(frozen=True, eq=False)
class Strokes:
    """What is kept of a layer for a line drawing.

    Attributes:
        coverage: of the object, (m, h, h).
        ink: share of each pixel under a line, (m, h, h).
        colours: of the lines, (m, 3).
    """

    coverage: Tensor
    ink: Tensor
    colours: Tensor


def _paper() -> Tensor:
    return torch.tensor(PAPER)[:, None, None]


def washed(images: Tensor, style: Style) -> Tensor:
    """A background on paper, the fainter the better objects stand out; in the other styles, as it is."""
    wash = WASH.get(style, 1.0)
    return images * wash + _paper() * (1 - wash)


def outline(distance: Tensor, darker: Tensor, coverage: Tensor) -> Tensor:
    """Share of each pixel under a line, (m, h, h): outlines, and a texture as hatching."""
    pixels_per_half_side = distance.shape[-1] / 2
    # The line lies inside the outline, so that the object keeps its size.
    edge = ((distance + LINE / 2).abs_().neg_().add_(LINE / 2)).mul_(pixels_per_half_side).add_(0.5).clamp_(0, 1)
    return torch.maximum(edge, darker * 0.9) * coverage


def draw_line(image: Tensor, strokes: Strokes) -> Tensor:
    """Draw a layer over paper: (m, 3, h, h) → the same."""
    colours = strokes.colours[:, :, None, None]
    filled = blend(image, _paper() + (colours - _paper()) * 0.15, strokes.coverage[:, None])
    return blend(filled, colours, strokes.ink[:, None])


def finish(style: Style, images: Tensor, seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """What a style does to finished images (m, 3, h, h)."""
    if style == "inverted":
        return 1 - images
    if style == "stippled":
        return _stippled(images, seeds, x, y)
    return images


def _stippled(images: Tensor, seeds: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Dots of coloured ink on paper, the denser the more the image differs from it; a dot keeps its place."""
    contrast = (images - _paper()).abs().amax(1).mul_(1.6).clamp_(max=1)
    share = contrast.mul_(_DENSEST - _SPARSEST).add_(_SPARSEST)
    ink = torch.zeros_like(share)
    for number in range(2):
        across, down = x / DOT + number / 2, y / DOT + number / 2
        column, row = across.floor(), down.floor()
        wide, high = column.to(torch.int32), row.to(torch.int32)
        threshold = cell_values(seeds, f"stipple {number}", wide, high)
        off_x = across - column - 0.35 - 0.3 * cell_values(seeds, f"stipple {number} x", wide, high)
        off_y = down - row - 0.35 - 0.3 * cell_values(seeds, f"stipple {number} y", wide, high)
        round_dot = (0.36 - length(off_x, off_y)).mul_(DOT * x.shape[-1] / 2).add_(0.5).clamp_(0, 1)
        ink = torch.maximum(ink, ((share - threshold) * 12).clamp_(0, 1).mul_(round_dot))
    return _paper() + (images - _paper()) * ink[:, None]
