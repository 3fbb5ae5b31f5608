"""Maps between the channels of two representations, fitted on images that nothing is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from snellen.core.errors import InputError
from snellen.metrics.alignment import map_residual, orthogonal_map, ridge_map
from snellen.models.layers.split_classifier import channel_rows

#: none: the same tensor. orthogonal: the nearest rotation (Procrustes). ridge: any linear map.
MapKind = Literal["none", "orthogonal", "ridge"]


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """A linear map of channels.

    Attributes:
        kind: how it was fitted.
        matrix: (c, k), for rows of channels: new = old · matrix.
        residual: of the images that it was fitted on, relative to the target's spread.
        held_out_residual: the same of images that were kept back: it reveals a map that was fitted on too few.
        rows: rows that it was fitted on.
    """

    kind: MapKind
    matrix: Tensor
    residual: float
    held_out_residual: float
    rows: int


def fit_channel_map(
    source: Tensor, target: Tensor, *, kind: MapKind = "orthogonal", held_out: float = 0.25
) -> ChannelMap:
    """Fit a map from the representations of a source to those of a target, of the same images in the same order.

    Maps (n, c, h, w) and tokens (n, t, c) are aligned in their channels: every place is a sample, so that a matrix of
    size c has n·h·w samples.

    Args:
        source: (n, c, ...), of the first model.
        target: (n, k, ...), of the second, with equal places; k = c for an orthogonal map.
        kind: orthogonal or ridge.
        held_out: share of the images, the last ones, that the residual is taken on instead.

    Raises:
        InputError: representations that do not pair; too few images for a number of channels.
    """
    if kind == "none":
        raise InputError("there is nothing to fit for the map 'none'; choose orthogonal or ridge")
    kept = len(source) - max(1, round(held_out * len(source)))
    rows = [channel_rows(part) for part in (source[:kept], target[:kept], source[kept:], target[kept:])]
    if len(rows[0]) != len(rows[1]) or len(rows[0]) < 2 * rows[0].shape[1] or len(rows[2]) < 2:
        raise InputError(
            f"a map of {rows[0].shape[1]} channels needs at least twice as many samples on both sides, of equal "
            f"places; got {len(rows[0])} and {len(rows[1])} samples from {kept} images of {tuple(source.shape)} and "
            f"{tuple(target.shape)}. Fit it on more images"
        )
    fit = orthogonal_map if kind == "orthogonal" else ridge_map
    matrix = fit(rows[0], rows[1])
    return ChannelMap(
        kind, matrix, map_residual(rows[0], rows[1], matrix), map_residual(rows[2], rows[3], matrix), len(rows[0])
    )
