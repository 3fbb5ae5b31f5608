"""A model on a server as if it were a function of a batch of images: how it wants them, and how they are sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.models.classifiers.served.inference_client import InferenceClient
from snellen.models.classifiers.served.server_reference import LARGEST_SIDE, Layout, ServedModel
from snellen.models.classifiers.served.tensor_messages import JSON_LENGTH, TensorDescription, read_answer, write_request
from snellen.models.remote.connection import shown

#: Types of numbers that images are sent in.
IMAGE_TYPES: dict[str, np.dtype[np.generic]] = {
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "UINT8": np.dtype("u1"),
}


#: Most images, and most numbers, that a model may insist on in one request.
LARGEST_BATCH, LARGEST_REQUEST = 1024, 2**28


@dataclass(frozen=True)
class ImageLayout:
    """What a model takes.

    Attributes:
        order: of the axes.
        channels: 3, or 1 for the mean of the three.
        size: height and width, or None where any will do.
        batch: number of images that the model insists on, or None.
        datatype: one of :data:`IMAGE_TYPES`.
    """

    order: Layout
    channels: int
    size: tuple[int, int] | None
    batch: int | None
    datatype: str

    def arrange(self, images: Tensor) -> NDArray[np.generic]:
        """Images (n, 3, h, w) as the array that is sent; for ``UINT8`` they are in [0, 1], and rounded to bytes.

        Raises:
            InputError: images outside [0, 1] where bytes are wanted.
        """
        fed = images.detach().cpu()
        if self.channels == 1:
            fed = fed.mean(1, keepdim=True)
        if self.order == "nhwc":
            fed = fed.permute(0, 2, 3, 1)
        array = fed.numpy()
        if self.datatype == "UINT8":
            if not (array.min() >= -1e-6 and array.max() <= 1 + 1e-6):
                raise InputError("the model takes bytes and normalises them itself; leave the normalisation out")
            array = (array * 255).round().clip(0, 255)
        return np.ascontiguousarray(array.astype(IMAGE_TYPES[self.datatype]))


def read_layout(entry: TensorDescription, given: Layout | None, where: str) -> ImageLayout:
    """The layout that a shape shows: the axis of length 1 or 3 holds the channels.

    >>> from snellen.models.classifiers.served.tensor_messages import TensorDescription
    >>> read_layout(TensorDescription(name="x", datatype="UINT8", shape=(-1, 224, 192, 3)), None, "pets")
    ImageLayout(order='nhwc', channels=3, size=(224, 192), batch=None, datatype='UINT8')

    Raises:
        InputError: another type, another number of axes, or a shape that does not show it.
    """
    if entry.datatype not in IMAGE_TYPES:
        raise InputError(
            f"{where}: input {entry.name!r} takes {entry.datatype}; images are sent as {', '.join(IMAGE_TYPES)}"
        )
    shape = entry.shape
    if len(shape) != 4:
        raise InputError(
            f"{where}: input {entry.name!r} has the shape {list(shape)}; expected four axes, (n, channels, height, "
            f"width) or (n, height, width, channels)"
        )
    places: dict[Layout, int] = {"nchw": 1, "nhwc": 3}
    orders = [order for order, place in places.items() if shape[place] in (1, 3)]
    if given is None and len(orders) != 1:
        raise InputError(
            f"{where}: the shape {list(shape)} of input {entry.name!r} does not show which axis holds the 1 or 3 "
            f"channels; say it: ?layout=nchw or ?layout=nhwc"
        )
    order = given or orders[0]
    count = shape[places[order]]
    if count > 0 and count not in (1, 3):
        raise InputError(f"{where}: input {entry.name!r} has the shape {list(shape)}: {count} channels as {order}")
    height, width = shape[2:] if order == "nchw" else shape[1:3]
    if max(height, width) > LARGEST_SIDE:
        raise InputError(f"{where}: input {entry.name!r} takes {height}x{width} pixels; at most {LARGEST_SIDE} a side")
    batch, each = max(shape[0], 1), 3 * max(height, 1) * max(width, 1)
    if batch > LARGEST_BATCH or batch * each > LARGEST_REQUEST:
        raise InputError(
            f"{where}: input {entry.name!r} takes {batch} images at once, of the shape {list(shape)}; at most "
            f"{LARGEST_BATCH} images and {LARGEST_REQUEST} numbers are sent in one request"
        )
    return ImageLayout(
        order=order,
        channels=count if count > 0 else 3,
        size=(height, width) if min(height, width) > 0 else None,
        batch=shape[0] if shape[0] > 0 else None,
        datatype=entry.datatype,
    )


class ServedNetwork:
    """Normalised images (n, 3, h, w) → outputs (n, k), or labels (n,). No gradients.

    A batch is sent in as many requests as needed; where the model insists on a number of images, the last request is
    filled with copies of the last image, whose outputs are dropped.

    Args:
        client: sends requests.
        model: where it is served.
        layout: how it wants its images.
        entry: name of the input.
        output: name of the output.
        binary: send numbers as bytes.
    """

    def __init__(
        self,
        client: InferenceClient,
        model: ServedModel,
        layout: ImageLayout,
        *,
        entry: str,
        output: str,
        binary: bool,
    ) -> None:
        self._client, self._model, self._layout = client, model, layout
        self._entry, self._output, self._binary = entry, output, binary
        #: Version of the model that answers, where the server states it; another one is an error from then on.
        self.version: str | None = model.version
        #: Called after the server was away: raises when another model came back.
        self.check_same: Callable[[], None] | None = None

    @property
    def where(self) -> str:
        """Address of the model."""
        return self._model.server.url

    def __call__(self, images: Tensor) -> Tensor:
        """Ask for the outputs; they are on the device of the images.

        Raises:
            InputError: the server refuses the request.
            ModelError: it cannot be reached, answers with something else, or has another model now.
        """
        outputs = self.outputs(images)
        if self._client.interrupted and self.check_same is not None:
            self.check_same()
        # Only now: a request after this error must raise it again.
        self._client.interrupted = False
        return outputs

    def outputs(self, images: Tensor) -> Tensor:
        """The same, without a check that the model is still the same one."""
        arranged = self._layout.arrange(images)
        step = self._layout.batch or self._model.settings.batch
        parts = [self._ask(arranged[start : start + step]) for start in range(0, len(arranged), step)]
        if any(part.shape[1:] != parts[0].shape[1:] or part.dtype != parts[0].dtype for part in parts):
            raise ModelError(f"{self.where} gives scores of another form from one request to the next")
        outputs = torch.from_numpy(np.concatenate(parts))
        # (n, k, 1, 1) is what a pooled convolution gives.
        while outputs.ndim > 2 and outputs.shape[-1] == 1:
            outputs = outputs.squeeze(-1)
        return outputs.to(images.device)

    def _ask(self, images: NDArray[np.generic]) -> NDArray[np.generic]:
        rows, url = len(images), f"{self.where}/infer"
        if self._layout.batch is not None and rows < self._layout.batch:
            images = np.concatenate([images, np.repeat(images[-1:], self._layout.batch - rows, axis=0)])
        body, headers = write_request(
            images, entry=self._entry, datatype=self._layout.datatype, output=self._output, binary=self._binary
        )
        hashes = [hashlib.sha256(image.tobytes()).hexdigest() for image in images[:rows]]
        answer = self._client.post(url, body, headers, hashes)
        numbers, version = read_answer(
            answer.body, answer.headers.get(JSON_LENGTH), output=self._output, rows=len(images), where=url
        )
        if version is not None and self.version not in (None, version):
            raise ModelError(
                f"{self.where} answers with version {shown(version)} of the model, and before with "
                f"{shown(self.version or '')}; name the version in the address, "
                f"{self._model.base}/models/{self._model.name}/versions/VERSION"
            )
        self.version = version or self.version
        return numbers[:rows]
