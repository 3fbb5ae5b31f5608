"""Occlusion: how much of the score is lost when a window of the image is covered, for every place of the window.

Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, arXiv 1311.2901, section 4.2.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from snellen.attribution.attributed import Attributed
from snellen.attribution.filling import Filling
from snellen.attribution.score import TargetScore
from snellen.errors import InputError


def occlusion(score: TargetScore, images: Tensor, filled: Filling, *, window: int, stride: int) -> Attributed:
    """Losses of score under a moving window: maps (n, h, w), each pixel the mean over the windows that cover it.

    Only scores are used, and no completeness is promised. At the right and lower edge windows are cut off.

    Args:
        score: the explained score, of all n images.
        images: (n, 3, h, w) in [0, 1].
        filled: what covers, bound to the images.
        window: side of the window, pixels.
        stride: step from one window to the next, at most the window, so that every pixel is covered.

    Raises:
        InputError: a window or stride that leaves pixels uncovered.
    """
    if not 1 <= stride <= window:
        raise InputError(f"a window moves by at least 1 pixel and at most its side; got {window=}, {stride=}")
    height, width = images.shape[-2:]
    corners = list(itertools.product(_starts(height, window, stride), _starts(width, window, stride)))
    covered = torch.zeros(len(corners), height, width, dtype=torch.bool)
    for mask, (top, left) in zip(covered, corners, strict=True):
        mask[top : top + window, left : left + window] = True
    lost = torch.zeros(len(images), len(corners), dtype=torch.float64)
    with score.classifier.counting() as spent, torch.no_grad():
        value = score.of_images(images)
        for pair in torch.arange(lost.numel()).split(score.chunk):
            if len(pair):
                rows, place = pair // len(corners), pair % len(corners)
                lost.view(-1)[pair] = value[rows] - score.values(filled(rows, ~covered[place]), rows)
    maps = torch.einsum("np,pyx->nyx", lost, covered.double()) / covered.sum(0)
    scores = torch.cat([value[:, None], value[:, None] - lost], 1)
    extremes = (scores.amin(1), scores.amax(1))
    return Attributed.of(maps.float().to(images.device), value, spent=spent(), extremes=extremes)


def _starts(length: int, window: int, stride: int) -> range:
    """Where windows begin along one edge: the last is the first that reaches the end."""
    return range(0, max(length - window, 0) + stride, stride)
