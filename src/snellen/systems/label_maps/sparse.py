"""Maps that keep the largest scores at each place, and the soft label of any crop, pooled over its box.

Yun et al., CVPR 2021, arXiv 2101.05022, section 3.2 (LabelPooling): RoIAlign with one output cell over the map, then
softmax. RoIAlign averages bilinear samples on a grid, so its weights are a product of one factor for each row and one
for each column. They are computed from the box alone, and what each place kept is added up class by class: nothing of
the size classes x height x width is ever built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: What a class counts at a place that did not keep it. zero: a score of 0, as the published models were trained. min:
#: the least score that the place kept. neg_inf: nothing, where no place of a crop kept it; 0 elsewhere.
Missing = Literal["zero", "min", "neg_inf"]


@dataclass(frozen=True, eq=False)
class SparseMaps:
    """The largest scores at each place.

    Attributes:
        values: logits, float (n, m, h, w): m of them at each place; NaN nowhere.
        indices: their classes, int64 (n, m, h, w).
    """

    values: Tensor
    indices: Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 4 or self.values.shape != self.indices.shape:
            raise InputError(
                f"label maps are values and indices (n, m, h, w); got {tuple(self.values.shape)} and "
                f"{tuple(self.indices.shape)}"
            )

    def __len__(self) -> int:
        return len(self.values)

    def dense(self, class_count: int, missing: Missing = "zero") -> Tensor:
        """All classes at each place: float (n, k, h, w). To be shown; pooling does not need it."""
        count, _, height, width = self.values.shape
        if missing == "min":
            filled = self.values.amin(1, keepdim=True).expand(count, class_count, height, width).clone()
        else:
            filled = torch.full(
                (count, class_count, height, width), 0.0 if missing == "zero" else -torch.inf, dtype=self.values.dtype
            ).to(self.values.device)
        return filled.scatter_(1, self.indices, self.values)

    def shows(self, labels: Tensor) -> Tensor:
        """Whether any place kept the label: bool (n,), for class indices (n,)."""
        return (self.indices == labels[:, None, None, None].to(self.indices)).flatten(1).any(1)


def keep_largest(maps: Tensor, kept: int) -> SparseMaps:
    """Keep the largest scores at each place.

    >>> keep_largest(torch.tensor([[1.0, 5.0, 3.0]]).view(1, 3, 1, 1), 2).indices.flatten().tolist()
    [1, 2]

    Args:
        maps: logits (n, k, h, w), finite.
        kept: how many, 1 to k.

    Raises:
        InputError: more than there are classes, or scores that are not finite.
    """
    if not 1 <= kept <= maps.shape[1]:
        raise InputError(f"of {maps.shape[1]} classes 1 to {maps.shape[1]} can be kept at each place, not {kept}")
    if not bool(torch.isfinite(maps).all()):
        raise InputError("a label map holds scores that are not finite")
    values, indices = maps.topk(kept, 1)
    return SparseMaps(values, indices)


#: left, top, right, bottom of the whole image.
WHOLE = (0.0, 0.0, 1.0, 1.0)


def box_weights(boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Weights of rows and columns of a map in the mean over a box.

    As torchvision's ``roi_align`` with ``aligned=False`` and ``sampling_ratio=-1`` on boxes · size − ½ (the −½ makes
    cells lie at their centres): ⌈length⌉ samples along each axis, at least one cell long, bilinear, and cells beyond
    the border count as those at the border.

    >>> rows, columns = box_weights(torch.tensor([[0.0, 0.0, 0.5, 1.0]]), 2, 4)
    >>> rows.tolist(), columns.tolist()
    ([[0.5, 0.5]], [[0.5, 0.5, 0.0, 0.0]])

    Args:
        boxes: (n, 4): left, top, right, bottom as shares of width and height, in [0, 1].
        height: rows of the map.
        width: columns of the map.

    Returns:
        Weights of rows (n, height) and of columns (n, width), each summing to 1, float32.

    Raises:
        InputError: boxes of another shape, outside [0, 1], or turned inside out.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"boxes are (n, 4): left, top, right, bottom; got {tuple(boxes.shape)}")
    boxes = boxes.float()
    # Written so that NaN fails too.
    if not bool(((boxes >= 0) & (boxes <= 1)).all() and (boxes[:, :2] <= boxes[:, 2:]).all()):
        raise InputError("boxes are left, top, right, bottom as shares of width and height in [0, 1], in this order")
    left, top, right, bottom = boxes.unbind(1)
    return _along(top, bottom, height), _along(left, right, width)


def _along(low: Tensor, high: Tensor, length: int) -> Tensor:
    """Weights of the cells of one axis: (n, length)."""
    start, end = low * length - 0.5, high * length - 0.5
    extent = (end - start).clamp(min=1)
    count = extent.ceil()
    number = torch.arange(int(count.max()) if len(count) else 0, device=low.device)
    at = start[:, None] + (number + 0.5) * extent[:, None] / count[:, None]
    used = (number < count[:, None]).float()
    cells = torch.arange(length, device=low.device)
    bilinear = (1 - (at.clamp(0, length - 1)[:, :, None] - cells).abs()).clamp(min=0)
    return (bilinear * used[:, :, None]).sum(1) / count[:, None]


def pooled_scores(maps: SparseMaps, boxes: Tensor, class_count: int, missing: Missing = "zero") -> Tensor:
    """Mean score of each class over a box.

    A class that a place did not keep counts there as ``missing`` says; by default as a score of 0, as the published
    models were trained, so that the largest probability is bounded: of 1000 classes, a score of 10 alone gives
    22026 / (22026 + 999).

    Args:
        maps: n of them.
        boxes: (n, 4), see :func:`box_weights`.
        class_count: k.
        missing: zero, min or neg_inf.

    Returns:
        Logits (n, k), float32; −inf where ``neg_inf`` says so.

    Raises:
        InputError: boxes that are none, or as many of them as there are no maps.
    """
    if len(boxes) != len(maps):
        raise InputError(f"{len(maps)} label maps came with {len(boxes)} boxes")
    rows, columns = box_weights(boxes, *maps.values.shape[2:])
    weights = rows[:, None, :, None] * columns[:, None, None, :]
    values, places = maps.values.float(), maps.indices.flatten(1)
    base = torch.zeros((len(maps), class_count), device=values.device)
    if missing == "min":
        least = values.amin(1, keepdim=True)
        base = base + (least * weights).flatten(1).sum(1, keepdim=True)
        values = values - least
    pooled = base.scatter_add(1, places, (values * weights).flatten(1))
    if missing != "neg_inf":
        return pooled
    seen = torch.zeros_like(pooled).scatter_add(1, places, weights.expand_as(values).flatten(1))
    return pooled.masked_fill(seen <= 0, -torch.inf)


def crop_targets(maps: SparseMaps, boxes: Tensor, class_count: int, missing: Missing = "zero") -> Tensor:
    """Soft labels of crops: softmax of :func:`pooled_scores`, probabilities (n, k).

    Scores are pooled, not probabilities. A crop that is mirrored has the same soft label.

    >>> maps = SparseMaps(torch.tensor([[[[4.0, 4.0]]]]), torch.tensor([[[[0, 1]]]]))  # class 0 left, class 1 right
    >>> boxes = torch.tensor([[0.0, 0.0, 0.5, 1.0]])
    >>> crop_targets(maps, boxes, 2).argmax(1).tolist()
    [0]
    """
    return pooled_scores(maps, boxes, class_count, missing).softmax(1)


def whole_boxes(count: int) -> Tensor:
    """Boxes of whole images: (n, 4)."""
    return torch.tensor([WHOLE]).repeat(count, 1)
