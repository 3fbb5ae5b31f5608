"""A model on a server as if it were a function of a batch of images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import ModelError
from snellen.models.classifiers.served.image_layout import ImageLayout
from snellen.models.classifiers.served.inference_client import InferenceClient
from snellen.models.classifiers.served.server_reference import ServedModel
from snellen.models.classifiers.served.tensor_messages import JSON_LENGTH, read_answer, write_request
from snellen.models.remote.key import shown


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
        #: Version of the model that answers, where the server tells; another one is an error from then on.
        self.version: str | None = model.version
        #: Asked after the server was away: raises when another model came back.
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
        # Only now: who asks on after an error is told of the other model again.
        self._client.interrupted = False
        return outputs

    def outputs(self, images: Tensor) -> Tensor:
        """The same, without a look at whether the model is still the same one."""
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
