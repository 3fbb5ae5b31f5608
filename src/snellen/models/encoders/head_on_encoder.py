"""A small head on an encoder that stays as it is: an artifact holds the head, and names the encoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core import index
from snellen.core.errors import InputError, unknown_name
from snellen.core.preprocessing import Preprocessing
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.models.encoders.references import load_encoder

#: Standard deviations below which an entry of the vectors is constant; it is left as it is.
_CONSTANT = 1e-6


class Standardise(nn.Module):
    """Subtract the mean of the training instances and divide by their standard deviation, entry by entry.

    Args:
        dim: length d of a vector.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))

    def fit(self, vectors: Tensor) -> None:
        """Take both from vectors (n, d)."""
        deviation = vectors.std(0, correction=0)
        self.mean.copy_(vectors.mean(0))
        self.deviation.copy_(torch.where(deviation > _CONSTANT, deviation, torch.ones_like(deviation)))

    def forward(self, vectors: Tensor) -> Tensor:
        """(…, d) → (…, d)."""
        return (vectors - self.mean) / self.deviation


class InstanceHead(nn.Module):
    """Vectors (n, d) → scores (n, 2) of negative and positive, through one hidden layer.

    Args:
        dim: length d of a vector.
        width: of the hidden layer.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.standardise = Standardise(dim)
        self.hidden = nn.Sequential(nn.Linear(dim, width), nn.ReLU())
        self.scores = nn.Linear(width, 2)

    def forward(self, vectors: Tensor) -> Tensor:
        """Scores of each instance."""
        scores: Tensor = self.scores(self.hidden(self.standardise(vectors)))
        return scores


class HeadOnEncoder(nn.Module):
    """Normalised images (n, 3, h, w) → scores (n, k). Its state dict holds the head alone.

    Args:
        encoder: images → vectors (n, d); neither trained nor saved.
        head: vectors → scores.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.register_state_dict_post_hook(_leave_out_the_encoder)
        self.register_load_state_dict_pre_hook(_put_in_the_encoder)

    def forward(self, images: Tensor) -> Tensor:
        """Scores."""
        scores: Tensor = self.head(self.encoder(images))
        return scores


def encoder_at(reference: str, *, layer: str | None = None, side: int | None = None) -> FrozenEncoder:
    """An encoder by its reference; ``side`` shows it images of another size than its own.

    Args:
        reference: see :func:`snellen.models.encoders.references.load_encoder`.
        layer: of a classifier, instead of the vectors that its last layer takes.
        side: images are scaled and cropped to side × side pixels.

    Raises:
        InputError: a reference that cannot be used, or an encoder that takes no images of that size.
    """
    encoder = load_encoder(reference, layer=layer)
    if side is None:
        return encoder
    try:
        return replace(encoder, preparation=Preprocessing(size=(side, side), resize="shorter", resize_to=(side, side)))
    except InputError as error:
        raise InputError(f"{error}; leave the size out") from error


def architecture(
    encoder: FrozenEncoder, *, layer: str | None, side: int | None, head: str, width: int, **arguments: object
) -> dict[str, Any]:
    """The record in a card, from which :func:`build` makes the network again."""
    named = {"encoder": encoder.name, "layer": layer, "side": side, "identity": encoder.identity}
    return {"name": "head_on_encoder", **named, "head": head, "width": width, **arguments}


def build(
    encoder: str, layer: str | None, side: int | None, identity: str, head: str, width: int, **arguments: object
) -> HeadOnEncoder:
    """The network of a card: the encoder by its reference, and a head whose weights are still to be loaded.

    Raises:
        InputError: no such encoder or head, or another encoder under that reference.
    """
    loaded = encoder_at(encoder, layer=layer, side=side)
    if loaded.identity != identity:
        raise InputError(
            f"{encoder} is another encoder than the one that this head was trained on (hash {loaded.identity[:12]}… "
            f"instead of {identity[:12]}…); put the same model there"
        )
    return HeadOnEncoder(loaded.network, build_head(head, loaded.dim, width, **arguments))


def build_head(name: str, dim: int, width: int, **arguments: object) -> nn.Module:
    """A head by its name, with initial weights from torch's generator.

    Raises:
        UnknownNameError: there is none of that name.
    """
    known = index.heads()
    if name not in known:
        raise unknown_name("head", name, known)
    head: nn.Module = known[name].load()(dim, width, **arguments)
    return head


def _leave_out_the_encoder(network: nn.Module, state: dict[str, Any], prefix: str, _metadata: object) -> None:
    for name in [name for name in state if name.startswith(f"{prefix}encoder.")]:
        del state[name]


def _put_in_the_encoder(network: nn.Module, state: dict[str, Any], prefix: str, *_others: object) -> None:
    assert isinstance(network, HeadOnEncoder)
    for name, tensor in network.encoder.state_dict().items():
        state.setdefault(f"{prefix}encoder.{name}", tensor)
