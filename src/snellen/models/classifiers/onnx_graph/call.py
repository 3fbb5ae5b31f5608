"""What an operator is called with, and how it reads attributes and the inputs that say something about a shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from snellen.core.errors import UnsupportedError
from snellen.models.classifiers.onnx_graph.reading import Attribute

#: Types of numbers of ONNX (TensorProto.DataType) that torch has.
TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}


#: Most numbers that an input may have which says something about axes, such as a shape.
LONGEST = 4096


@dataclass(frozen=True, eq=False)
class Call:
    """One call of an operator.

    Attributes:
        kind: the operator.
        inputs: tensors; None is an input that is left out.
        attributes: by name.
        opset: version of the operators.
        outputs: how many outputs are needed.
    """

    kind: str
    inputs: tuple[Tensor | None, ...]
    attributes: Mapping[str, Attribute]
    opset: int
    outputs: int = 1

    def tensor(self, place: int) -> Tensor:
        """An input that must be there."""
        found = self.optional(place)
        if found is None:
            raise UnsupportedError(f"operator {self.kind} without its input {place + 1}")
        return found

    def optional(self, place: int) -> Tensor | None:
        """An input, None where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def tensors(self) -> list[Tensor]:
        """All inputs that are there, on one device: shapes are computed on the CPU, and may meet images elsewhere."""
        found = [one for one in self.inputs if one is not None]
        device = next((one.device for one in found if one.device.type != "cpu"), None)
        return found if device is None else [one.to(device) for one in found]

    def whole(self, name: str, default: int = 0) -> int:
        """An attribute that is a whole number."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, int) else default

    def number(self, name: str, default: float) -> float:
        """An attribute that is a number."""
        value = self.attributes.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def text(self, name: str, default: str) -> str:
        """An attribute that is a text."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, str) else default

    def list_of(self, name: str) -> list[int] | None:
        """An attribute that is a list of whole numbers, None where it is left out."""
        value = self.attributes.get(name)
        return [int(one) for one in value] if isinstance(value, list) else None

    def numbers(self, place: int, attribute: str) -> list[int] | None:
        """Whole numbers that are an input since some opset, and were an attribute before; None where left out."""
        found = self.listed(place)
        return self.list_of(attribute) if found is None else [int(one) for one in found]

    def listed(self, place: int) -> list[float] | None:
        """The numbers of an input that says something about axes, None where it is left out."""
        found = self.optional(place)
        if found is not None and found.numel() > LONGEST:
            raise self.refuse(f"{found.numel()} numbers at input {place + 1}, more than {LONGEST}")
        numbers: list[float] | None = None if found is None else found.flatten().tolist()
        return numbers

    def refuse(self, what: str) -> UnsupportedError:
        """The error for a form of the operator that is not built."""
        return UnsupportedError(f"operator {self.kind} with {what}")


#: An operator: what it is called with → its output, or its outputs.
Operator: TypeAlias = Callable[[Call], "Tensor | tuple[Tensor, ...]"]
