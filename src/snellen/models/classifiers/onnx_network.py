"""Run an ONNX Runtime session as if it were a function of a batch of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
