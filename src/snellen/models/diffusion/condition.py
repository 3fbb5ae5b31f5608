"""The condition of a denoiser: text states, masks, pooled states, sizes, classes; one row a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from snellen.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Condition:
    """The conditioning of a batch. Equal means *the same object*: encode a prompt once and use it twice.

    The sampler runs a network once for each different condition, so a negative prompt that is the same object as the
    prompt costs nothing.

    >>> digits = Condition(count=3, classes=torch.tensor([7, 1, 4]))
    >>> digits.select([2, 0]).classes
    tensor([4, 7])
    >>> digits == Condition(count=3, classes=torch.tensor([7, 1, 4]))
    False

    Args:
        count: number of rows.
        text: hidden states of the text, (n, tokens, width).
        mask: which tokens count, (n, tokens), 1 or 0; None where the network takes no mask.
        pooled: one state for a whole prompt, (n, width).
        time_ids: original size, crop and target size, (n, 6).
        classes: class ids, int64 (n,).
    """

    count: int
    text: Tensor | None = None
    mask: Tensor | None = None
    pooled: Tensor | None = None
    time_ids: Tensor | None = None
    classes: Tensor | None = None

    def __post_init__(self) -> None:
        for name, tensor in self.tensors().items():
            if len(tensor) != self.count:
                raise InputError(f"a condition of {self.count} rows has {name} of shape {tuple(tensor.shape)}")

    def __len__(self) -> int:
        return self.count

    def tensors(self) -> dict[str, Tensor]:
        """The parts that are there, by name."""
        parts = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "count"}
        return {name: part for name, part in parts.items() if part is not None}

    def select(self, rows: Sequence[int] | Tensor) -> Condition:
        """The condition of some rows, in this order; rows may repeat."""
        wanted = torch.as_tensor(rows, dtype=torch.int64)
        parts = {name: tensor[wanted.to(tensor.device)] for name, tensor in self.tensors().items()}
        return Condition(count=len(wanted), **parts)

    def with_text(self, text: Tensor) -> Condition:
        """The same condition with other text states (n, tokens, width): how a method edits what the network reads."""
        if self.text is None:
            raise InputError("this condition has no text states that could be replaced")
        if text.shape != self.text.shape:
            raise InputError(f"text states of shape {tuple(text.shape)} cannot replace {tuple(self.text.shape)}")
        return replace(self, text=text.to(self.text))

    @staticmethod
    def concatenate(conditions: Sequence[Condition]) -> Condition:
        """Put conditions of the same kind one after the other.

        Raises:
            InputError: none came, or they differ in their parts or in the number of tokens.
        """
        if not conditions:
            raise InputError("there is no condition to concatenate")
        if len(conditions) == 1:
            return conditions[0]
        parts = [condition.tensors() for condition in conditions]
        shapes = [{name: tuple(tensor.shape[1:]) for name, tensor in part.items()} for part in parts]
        if any(shape != shapes[0] for shape in shapes):
            raise InputError(f"conditions of different kinds cannot share a batch: {' and '.join(map(str, shapes))}")
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return Condition(count=sum(map(len, conditions)), **joined)
