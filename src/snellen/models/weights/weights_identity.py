"""The hash of a network's weights, computed again only when they have changed."""

from __future__ import annotations

from torch import Tensor, nn

from snellen.core.classifier import hash_tensors


class WeightsIdentity:
    """Hash (sha256) of the parameters and buffers of networks, as they are now.

    Every change in place (an optimiser step, ``load_state_dict``) raises a tensor's version, and a replaced tensor lies
    elsewhere; only then is the hash computed anew. Changes through ``.data`` are not seen.

    >>> import torch
    >>> layer = nn.Linear(2, 2)
    >>> identity = WeightsIdentity(layer)
    >>> before = identity()
    >>> with torch.no_grad():
    ...     _ = layer.weight.add_(1)
    >>> identity() == before
    False
    """

    def __init__(self, *networks: nn.Module) -> None:
        self._networks = networks
        self._seen: list[tuple[str, int, int]] | None = None
        self._hash = ""

    def __call__(self) -> str:
        """The hash, as hexadecimal digits."""
        tensors = self._tensors()
        seen = [(name, tensor._version, tensor.data_ptr()) for name, tensor in tensors.items()]
        if seen != self._seen:
            self._hash, self._seen = hash_tensors(tensors), seen
        return self._hash

    def _tensors(self) -> dict[str, Tensor]:
        return {
            f"{number}.{name}": tensor
            for number, network in enumerate(self._networks)
            for name, tensor in network.state_dict(keep_vars=True).items()
        }
