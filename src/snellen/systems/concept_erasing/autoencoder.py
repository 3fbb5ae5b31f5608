"""A k-sparse autoencoder: a state is a sum of at most K unit directions out of many, plus a fixed centre.

After Gao et al. 2024 (arXiv 2406.04093), as Tian et al. 2025 (arXiv 2503.09446) use it on a text encoder. With e a
state, b the centre (``centre``), c ``offsets``, W_enc (n, d) and W_dec, here kept as its n columns (n, d):

    a = W_enc (e − b) + c      s = ReLU of the K largest of a, zero elsewhere      ê = W_dec s + b
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.systems.concept_erasing.geometric_median import geometric_median

#: Latents whose activations are held at once while the largest are looked for.
_TOGETHER = 65_536


class Codes(NamedTuple):
    """Sparse codes of m states: values (m, k), at least 0, of the features ``indices`` (m, k)."""

    values: Tensor
    indices: Tensor

    def dense(self, latents: int) -> Tensor:
        """All activations, (m, latents)."""
        return self.values.new_zeros(len(self.values), latents).scatter(1, self.indices, self.values)


class SparseAutoencoder(nn.Module):
    """Encoder and decoder of one width; draws its directions from the global generator, as layers of torch do.

    In training mode the columns of the decoder are brought back to length 1 before each use, and their gradients lose
    the part along the column: a step then turns a direction, and never only makes it longer. :meth:`normalise` does the
    first after the last step. The buffer ``idle`` counts the states since each feature was last active.

    Args:
        width: d, of a state.
        latents: n.
        active: K, between 1 and n.

    Raises:
        InputError: sizes that cannot be.
    """

    idle: Tensor

    def __init__(self, width: int, latents: int, active: int) -> None:
        super().__init__()
        if width < 1 or not 1 <= active <= latents:
            raise InputError(
                f"an autoencoder has a width of at least 1 and 1 to n active latents; got width {width}, "
                f"n = {latents}, {active} active"
            )
        self.width, self.latents, self.active = width, latents, active
        self.encoder = nn.Parameter(F.normalize(torch.randn(latents, width), dim=1))
        # Tied at the start: W_dec is the transpose of W_enc, its columns of length 1.
        self.decoder = nn.Parameter(self.encoder.detach().clone())
        self.centre = nn.Parameter(torch.zeros(width))
        self.offsets = nn.Parameter(torch.zeros(latents))
        self.register_buffer("idle", torch.zeros(latents, dtype=torch.int64))

    def start_at(self, states: Tensor) -> None:
        """Put the centre at the geometric median of states (m, d)."""
        with torch.no_grad():
            self.centre.copy_(geometric_median(self._checked(states)))

    def forward(self, states: Tensor) -> tuple[Tensor, Codes]:
        """States (m, d) → reconstructions (m, d) and codes."""
        if self.training:
            self.normalise()
        codes = self.encode(states)
        if self.training:
            self._count(codes)
        return self.decode(codes) + self.centre, codes

    def encode(self, states: Tensor) -> Codes:
        """Codes of states (m, d): the K largest activations, those below 0 set to 0.

        Raises:
            InputError: states of another width, or not finite.
        """
        moved = self._checked(states) - self.centre
        best: Codes | None = None
        for start in range(0, self.latents, _TOGETHER):
            part = slice(start, start + _TOGETHER)
            found = F.linear(moved, self.encoder[part], self.offsets[part])
            top = found.topk(min(self.active, found.shape[1]), dim=1)
            new = Codes(top.values, top.indices + start)
            best = new if best is None else _best(best, new, self.active)
        assert best is not None
        return Codes(best.values.relu(), best.indices)

    def decode(self, codes: Codes) -> Tensor:
        """W_dec s, (m, d), without the centre: only the K columns that are active are read."""
        columns = _WithoutLengthening.apply(self.decoder) if self.training else self.decoder
        return F.embedding_bag(codes.indices, columns, per_sample_weights=codes.values, mode="sum")

    def explain_rest(self, states: Tensor, dead: Tensor, active: int) -> Tensor:
        """What dead features (j,) make of states (m, d) with their ``active`` largest activations, (m, d)."""
        found = F.linear(states - self.centre, self.encoder[dead], self.offsets[dead])
        top = found.topk(min(active, len(dead)), dim=1)
        return self.decode(Codes(top.values.relu(), dead[top.indices]))

    def dead(self, after: int) -> Tensor:
        """Features that no state has activated for more than ``after`` states (tokens), int64 (j,)."""
        return (self.idle > after).nonzero().flatten()

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring every column of the decoder to length 1."""
        self.decoder.copy_(F.normalize(self.decoder, dim=1))

    def architecture(self) -> dict[str, Any]:
        """What builds it, as a card keeps it."""
        return {"name": "sparse_autoencoder", "width": self.width, "latents": self.latents, "active": self.active}

    @torch.no_grad()
    def _count(self, codes: Codes) -> None:
        self.idle += len(codes.values)
        self.idle[codes.indices[codes.values > 0]] = 0

    def _checked(self, states: Tensor) -> Tensor:
        if states.ndim != 2 or states.shape[1] != self.width:
            raise InputError(f"states are (m, {self.width}) for this autoencoder; got {tuple(states.shape)}")
        if not bool(torch.isfinite(states).all()):
            raise InputError("a state of the text encoder is not finite, so it has no code; look at the encoder")
        return states


class _WithoutLengthening(torch.autograd.Function):
    """Unit columns (n, d) as they are; their gradient loses its part along each column."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor) -> Tensor:  # noqa: ANN401 - as torch calls it
        ctx.save_for_backward(columns)
        return columns.view_as(columns)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:  # noqa: ANN401 - as torch calls it
        (columns,), (gradient,) = ctx.saved_tensors, gradients
        projected: Tensor = gradient - (gradient * columns).sum(1, keepdim=True) * columns
        return projected


def _best(one: Codes, other: Codes, active: int) -> Codes:
    values, indices = torch.cat([one.values, other.values], 1), torch.cat([one.indices, other.indices], 1)
    top = values.topk(min(active, values.shape[1]), dim=1)
    return Codes(top.values, indices.gather(1, top.indices))
