"""What runs an ONNX model: torch, where its scores are those of ONNX Runtime, else ONNX Runtime alone.

Scores and gradients come from one function. Scores from ONNX Runtime beside gradients from torch would be two functions
that differ in the last digits: an attack would search on one and be judged on the other, and layers would show nothing
in passes without gradients. So torch runs everything or nothing, and a note says which; ``run_by="onnxruntime"`` keeps
ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.errors import MissingExtraError, UnsupportedError
from snellen.models.classifiers.assembly import probe_images
from snellen.models.classifiers.onnx_graph.module import OnnxModule
from snellen.models.classifiers.onnx_graph.reading import read_graph

#: Largest difference of scores from those of ONNX Runtime, relative to the largest score, and the smallest score that
#: counts as that.
TOLERANCE, FAINT = 1e-4, 1e-3

#: Images in the two batches that are compared: of two sizes, so that a batch size inside the graph shows.
BATCHES = (4, 3)

#: Sides of images, in pixels, that are tried for a model of any size.
_SIDES = (64, 224)


class InBatches:
    """A module that was exported for one batch size, called as often as needed; differentiable, without layers.

    It follows its images to their device.

    Args:
        module: for batches of one size; on the CPU.
        size: that size.
    """

    def __init__(self, module: nn.Module, size: int) -> None:
        self.module, self._size, self._device = module.eval().requires_grad_(False), size, torch.device("cpu")

    def __call__(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) → outputs (n, k); the last batch is filled with copies of the last image."""
        if images.device != self._device:
            self.module.to(images.device)
            self._device = images.device
        parts = []
        for part in images.split(self._size):
            missing = self._size - len(part)
            filled = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]) if missing else part
            parts.append(self.module(filled)[: len(part)])
        return torch.cat(parts)


@dataclass(frozen=True, eq=False)
class Running:
    """What runs a model.

    Attributes:
        network: a module, or a differentiable callable; None where torch cannot run it.
        feature_layer: the layer that gives the features before the last linear layer, where there is one.
        note: what runs, in words.
    """

    network: nn.Module | InBatches | None
    feature_layer: str | None
    note: str


def run_by_torch(
    content: bytes,
    folder: Path | None,
    runtime: Callable[[Tensor], Tensor],
    *,
    result: str,
    size: tuple[int, int] | None,
    normalization: Normalization | None,
    dtype: torch.dtype,
    grey: bool,
    batch: int | None,
) -> Running:
    """Make a module of a serialised model, and keep it where it gives the scores of ONNX Runtime.

    Args:
        content: the model.
        folder: of its external weights; None where it comes from memory.
        runtime: the same model, run by ONNX Runtime on the CPU.
        result: name of the output that is used.
        size: height and width of its images; None: any.
        normalization: that the images of the comparison get; None: they are in [0, 1].
        dtype: of its input.
        grey: it takes one channel.
        batch: the batch size that it insists on, None for any.
    """
    try:
        graph = read_graph(content, folder, result)
        made = OnnxModule(graph, dtype=dtype, grey=grey).eval().requires_grad_(False)
        probes = _probes(runtime, size, normalization)
        if batch is None:
            _compare(made, probes)
            return Running(made, made.feature_layer, _note("with gradients and layers"))
        for tokens_first in (False, True):
            freed = OnnxModule(graph, dtype=dtype, grey=grey).eval().requires_grad_(False)
            if _is_freed(freed, probes, batch, tokens_first):
                how = "with gradients and layers, and in batches of any size"
                return Running(freed, freed.feature_layer, _note(how))
        _compare(InBatches(made, batch), probes)
        return Running(
            InBatches(made, batch), None, _note(f"with gradients, in batches of {batch}, and so without layers")
        )
    except MissingExtraError as error:
        why = str(error)
    except UnsupportedError as error:
        why = f"torch cannot run {error}"
    except Exception as error:  # a file of someone else's may be wrong in any way, and ONNX Runtime runs it still
        lines = str(error).strip().splitlines() or [""]
        why = f"torch cannot run its graph ({type(error).__name__}: {lines[0]})"
    return Running(None, None, f"onnxruntime runs the model, without gradients and layers: {why}")


def _note(how: str) -> str:
    return (
        f"torch runs the graph, {how}; for {sum(BATCHES)} images of noise its scores are those of onnxruntime within "
        f"{TOLERANCE:g} of the largest"
    )


def _probes(
    runtime: Callable[[Tensor], Tensor], size: tuple[int, int] | None, normalization: Normalization | None
) -> list[tuple[Tensor, Tensor]]:
    """Two batches of images as the model takes them, with the scores of ONNX Runtime."""
    sizes = [size] if size is not None else [(side, side) for side in _SIDES]
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in normalization or Normalization())
    for number, one in enumerate(sizes):
        images = (probe_images(one, sum(BATCHES)) - mean) / std
        try:
            return [(batch, runtime(batch)) for batch in images.split(BATCHES)]
        except Exception:
            if number + 1 == len(sizes):
                raise
    raise AssertionError("no size")


def _is_freed(module: OnnxModule, probes: list[tuple[Tensor, Tensor]], batch: int, tokens_first: bool) -> bool:
    """Whether the module takes batches of any size after all."""
    images = probes[0][0]
    try:
        module.free_batch(images[:1].expand(batch, -1, -1, -1), tokens_first=tokens_first)
        _compare(module, probes)
    except (RuntimeError, ValueError, IndexError, UnsupportedError):
        return False
    return True


def _compare(network: Callable[[Tensor], Tensor], probes: list[tuple[Tensor, Tensor]]) -> None:
    """Raise UnsupportedError where scores are not those of ONNX Runtime, or have no gradients."""
    for images, expected in probes:
        with torch.enable_grad():
            found = network(images.clone().requires_grad_())
        if not found.requires_grad:
            raise UnsupportedError("an output that has no gradients, such as a label")
        if found.shape != expected.shape:
            raise UnsupportedError(f"it alike: scores of shape {tuple(found.shape)} instead of {tuple(expected.shape)}")
        wide = expected.double()
        apart = float((found.detach().double() - wide).abs().max() / wide.abs().max().clamp_min(FAINT))
        if not apart <= TOLERANCE:  # so that NaN counts as different
            raise UnsupportedError(f"it alike: scores differ from those of onnxruntime by {apart:.1g} of the largest")
