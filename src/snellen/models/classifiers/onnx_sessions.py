"""Sessions of ONNX Runtime: opened so that they give the same numbers each time, and called like a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError

#: Input types that images are cast to.
FLOAT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxNetwork:
    """A session as a callable: normalised images (n, 3, h, w) → outputs (n, k), or labels (n,). No gradients.

    A session with a fixed batch size is called as often as needed; its last batch is filled with copies of the last
    image, whose outputs are dropped.

    Args:
        session: an ``onnxruntime.InferenceSession``.
        input_name: name of the input.
        output_name: name of the output that is used.
        kind: type of the input, one of :data:`FLOAT_TYPES`.
        grey: feed the mean of the channels, (n, 1, h, w).
        batch: the batch size that the session insists on, or None.
    """

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - an InferenceSession, of an extra
        *,
        input_name: str,
        output_name: str,
        kind: str,
        grey: bool,
        batch: int | None,
    ) -> None:
        self._session, self._input, self._output = session, input_name, output_name
        self._dtype, self._grey, self._batch = FLOAT_TYPES[kind], grey, batch

    def __call__(self, images: Tensor) -> Tensor:
        """Run the model; the result is on the device of the images."""
        fed = images.detach().mean(1, keepdim=True) if self._grey else images.detach()
        array = np.ascontiguousarray(fed.cpu().numpy().astype(self._dtype))
        step = self._batch or len(array)
        parts = [self._run(array[start : start + step], step) for start in range(0, len(array), step)]
        outputs = torch.from_numpy(np.concatenate(parts))
        # (n, k, 1, 1) is what a pooled convolution gives.
        while outputs.ndim > 2 and outputs.shape[-1] == 1:
            outputs = outputs.squeeze(-1)
        return outputs.to(images.device)

    def _run(self, images: NDArray[np.floating[Any]], step: int) -> NDArray[Any]:
        missing = step - len(images)
        if missing:
            images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        outputs: NDArray[Any] = self._session.run([self._output], {self._input: images})[0]
        return outputs[: step - missing] if missing else outputs


def open_session(onnxruntime: ModuleType, path: Path, device: torch.device) -> Any:  # noqa: ANN401 - of an extra
    """A session of the runtime that gives the same numbers each time.

    Raises:
        InputError: not a model that the runtime can run, or not on this device.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise InputError(f"onnx:{path.name} on {device}: this onnxruntime has no CUDA; install onnxruntime-gpu")
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    elif device.type != "cpu":
        raise InputError(f"onnx:{path.name} runs on cpu or cuda, not on {device}")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise InputError(f"{path} is not an ONNX model that this onnxruntime can run: {error}") from error
    if device.type == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        # The runtime falls back to the CPU without an error when its CUDA libraries are missing.
        raise InputError(f"onnx:{path.name} on {device}: onnxruntime cannot start CUDA; are its CUDA libraries there?")
    return session


@dataclass(frozen=True, eq=False)
class WrappedSession:
    """A session as a callable, and what it says about its input and output.

    Attributes:
        network: the callable.
        size: height and width, where they are fixed.
        notes: remarks for the report.
        output: name of the output that is used.
        labels: it gives whole numbers.
        dtype: of the input.
        grey: it takes one channel.
        batch: the batch size that it insists on, None for any.
    """

    network: OnnxNetwork
    size: tuple[int, int] | None
    notes: list[str]
    output: str
    labels: bool
    dtype: torch.dtype
    grey: bool
    batch: int | None


def wrap_session(session: Any, path: Path) -> WrappedSession:  # noqa: ANN401 - an InferenceSession, of an extra
    """The model as a callable, with what it says about its input and output.

    Raises:
        InputError: a model of another kind.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise InputError(
            f"{path} takes {len(inputs)} inputs ({', '.join(i.name for i in inputs)}); expected one, images"
        )
    entry, first = inputs[0], outputs[0]
    shape, kind = list(entry.shape), entry.type
    if kind not in FLOAT_TYPES:
        raise InputError(f"{path}: input {entry.name!r} is {kind}; expected floats: {', '.join(FLOAT_TYPES)}")
    if len(shape) != 4:
        raise InputError(f"{path}: input {entry.name!r} has shape {shape}; expected (n, channels, height, width)")
    channels = shape[1]
    if isinstance(channels, int) and channels not in (1, 3):
        last = (
            " It looks like (n, height, width, channels): export it with channels first." if shape[3] in (1, 3) else ""
        )
        raise InputError(
            f"{path}: input {entry.name!r} has shape {shape}; expected 1 or 3 channels at position 1.{last}"
        )
    if not first.type.startswith("tensor(") or first.type == "tensor(string)":
        raise InputError(f"{path}: its first output {first.name!r} is {first.type}; expected a tensor of numbers")
    notes = []
    if len(outputs) > 1:
        notes.append(f"the model has {len(outputs)} outputs; the first, {first.name!r}, is used")
    if channels == 1:
        notes.append("the model takes one channel: the mean of the three is fed")
    elif channels != 3:
        notes.append("the model does not state its number of channels; 3 assumed")
    batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
    size = (shape[2], shape[3]) if isinstance(shape[2], int) and isinstance(shape[3], int) else None
    network = OnnxNetwork(
        session, input_name=entry.name, output_name=first.name, kind=kind, grey=channels == 1, batch=batch
    )
    return WrappedSession(
        network,
        size,
        notes,
        output=first.name,
        labels="int" in first.type,
        dtype=torch.from_numpy(np.zeros(0, FLOAT_TYPES[kind])).dtype,
        grey=channels == 1,
        batch=batch,
    )
