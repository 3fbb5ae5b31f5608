"""Models that are called in another way: with NumPy arrays, or with a list of images as MAITE calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snellen.core.errors import ModelError, SnellenError
from snellen.data.objects.data_sets import numbered_names


class AnyArrays:
    """A callable of torch tensors or NumPy arrays (n, c, h, w), made one of tensors.

    Which of the two it takes is found out at the first call: tensors are tried first.

    Args:
        model: returns scores (n, k), or labels (n,), as a tensor or as an array.
    """

    def __init__(self, model: Callable[[Any], Any]) -> None:
        self.model = model
        self.takes_numpy: bool | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """(n, c, h, w) → scores (n, k) or labels (n,), on the device of the images."""
        if self.takes_numpy is None:
            outputs = self._first(images)
        else:
            outputs = self.model(_array(images) if self.takes_numpy else images)
        return as_tensor(outputs, images)

    def _first(self, images: Tensor) -> object:
        try:
            outputs: object = self.model(images)
        except SnellenError:
            raise
        except Exception as of_tensors:
            try:
                outputs = self.model(_array(images))
            except Exception:
                raise of_tensors from None
            self.takes_numpy = True
            return outputs
        self.takes_numpy = False
        return outputs


class MaiteModel:
    """A model of MAITE: a list of images (c, h, w) → a list of scores (k,). No gradients.

    Args:
        model: with ``metadata``, a mapping.
        whole_bytes: whether it takes bytes from 0 to 255, and not numbers in [0, 1].
    """

    def __init__(self, model: Callable[[Any], Any], *, whole_bytes: bool) -> None:
        self.model, self.whole_bytes = model, whole_bytes

    def __call__(self, images: Tensor) -> Tensor:
        """(n, c, h, w) → scores (n, k), on the device of the images."""
        held = images.detach().cpu()
        if self.whole_bytes:
            held = held.mul(255).round().clamp(0, 255).to(torch.uint8)
        outputs = self.model(list(held))
        return as_tensor(np.stack([np.asarray(one) for one in outputs]), images)


def is_maite_model(model: object) -> bool:
    """Whether a model has the structure of MAITE's: callable, with metadata that hold an id."""
    metadata = getattr(model, "metadata", None)
    return callable(model) and isinstance(metadata, Mapping) and "id" in metadata


def maite_class_names(model: object) -> tuple[str, ...] | None:
    """Names of the classes, where the metadata number them."""
    return numbered_names(getattr(model, "metadata", {}).get("index2label"))


def maite_takes_bytes(model: object) -> bool | None:
    """What the metadata declare as ``value_range``: (0, 255) means bytes, (0, 1) does not; None without a word."""
    declared = getattr(model, "metadata", {}).get("value_range")
    if isinstance(declared, Sequence) and not isinstance(declared, str):
        return {(0, 255): True, (0, 1): False}.get(tuple(declared))
    return None


def as_tensor(outputs: object, images: Tensor) -> Tensor:
    """What a model returned, as a tensor on the device of its images.

    Raises:
        ModelError: it is neither a tensor nor an array of numbers.
    """
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, tuple):
        raise ModelError(f"the model returned tuple for {len(images)} images; expected one tensor or array (n, k)")
    try:
        array = np.asarray(outputs)
        return torch.from_numpy(np.ascontiguousarray(array)).to(images.device)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the model returned a {type(outputs).__name__}; expected scores (n, k)") from error


def _array(images: Tensor) -> np.ndarray:
    return images.detach().cpu().numpy()
