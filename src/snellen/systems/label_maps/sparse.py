"""Maps of scores of which each place keeps its largest, and tells nothing of the other classes."""

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
        """All classes at each place: float (n, k, h, w). For looking at; pooling does not need it."""
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
