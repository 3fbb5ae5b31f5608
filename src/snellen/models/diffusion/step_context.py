"""What the sampler tells an adapter about each call of the network, and how the adapter answers.

The sampler asks several predictions of one network call (the prompt's, the negative prompt's), so a call has more rows
than there are samples. An adapter whose strength differs between samples needs to know which row is whose.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from snellen.models.diffusion.denoiser import Denoiser


@dataclass(frozen=True)
class NetworkCall:
    """One call of a network, before it is made.

    Args:
        denoiser: whose network is called: the generator's own, or that of a reference (a weaker model).
        timestep: of all rows, on the scale of the training schedule: high is noise, 0 is the image.
        samples: int64 (rows,), on the device of the latents: for each row of the call the position of its sample in
            the batch. A sample may occur several times, once for each condition, or not at all.
        count: number of samples in the batch; all entries of ``samples`` are below it.
    """

    denoiser: Denoiser
    timestep: float
    samples: Tensor
    count: int


class StepContext(Protocol):
    """Something that is in force around network calls: adapters with a multiplier for each sample, gated by time."""

    def active(self, call: NetworkCall) -> AbstractContextManager[None]:
        """A context in which the call is made; what it changes, it puts back at the end, on errors too.

        It is entered for calls of *every* denoiser: one that is not concerned gets an empty context.
        """
        ...
