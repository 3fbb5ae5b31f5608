"""f: ε → z, the invertible network of PromptGen with its exact log-determinant (C. H. Wu et al. 2022, section 3).

A block is affine coupling, then a scale and shift of every dimension, then a rotation that is drawn once and stays:

    (a, b) = x;  s, t = subnet(a, α);  y = R (exp(g) · (a, b · exp(c(s)) + t) + h);  log|det| = Σ c(s) + Σ g

with c(s) = 2 · tanh(s / 2), so that no scale leaves (e⁻², e²). R is orthogonal, so its log-determinant is 0. A fresh
network is a rotation: it maps the prior to itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError

#: Most dimensions: a block has a rotation of d × d numbers.
MOST = 4096

#: Largest absolute logarithm of a coupling's scale.
CLAMP = 2.0


class CouplingBlock(nn.Module):
    """One block: (x (n, d), condition (n, k)) → (y (n, d), log-determinant (n,)).

    Args:
        dimension: d, at least 2; of an odd one the unchanged part is the larger.
        hidden: width of the subnet.
        conditions: k, numbers that the subnet also sees; 0 for none.
        draws: of the rotation and the initial weights.
    """

    rotation: Tensor

    def __init__(self, dimension: int, hidden: int, conditions: int, draws: torch.Generator) -> None:
        super().__init__()
        self.kept = dimension - dimension // 2
        changed = dimension // 2
        first = nn.utils.skip_init(nn.Linear, self.kept + conditions, hidden)
        last = nn.utils.skip_init(nn.Linear, hidden, 2 * changed)
        bound = (self.kept + conditions) ** -0.5
        with torch.no_grad():
            first.weight.uniform_(-bound, bound, generator=draws)
            first.bias.uniform_(-bound, bound, generator=draws)
            last.weight.zero_()
            last.bias.zero_()
        self.subnet = nn.Sequential(first, nn.LeakyReLU(0.1), last)
        self.log_scale, self.shift = nn.Parameter(torch.zeros(dimension)), nn.Parameter(torch.zeros(dimension))
        square, upper = torch.linalg.qr(torch.randn(dimension, dimension, generator=draws, dtype=torch.float64))
        self.register_buffer("rotation", (square * upper.diagonal().sign()).float())

    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map, and the logarithm of the absolute determinant of the Jacobian."""
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        log_factor, offset = self._coupling(kept, condition)
        coupled = torch.cat([kept, changed * log_factor.exp() + offset], 1)
        moved = coupled * self.log_scale.exp() + self.shift
        return moved @ self.rotation.T, log_factor.sum(1) + self.log_scale.sum()

    def inverse(self, y: Tensor, condition: Tensor | None) -> Tensor:
        """Back: (n, d) → (n, d)."""
        coupled = (y @ self.rotation - self.shift) * (-self.log_scale).exp()
        kept, moved = coupled[:, : self.kept], coupled[:, self.kept :]
        log_factor, offset = self._coupling(kept, condition)
        return torch.cat([kept, (moved - offset) * (-log_factor).exp()], 1)

    def _coupling(self, kept: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        seen = kept if condition is None else torch.cat([kept, condition], 1)
        raw, offset = self.subnet(seen).chunk(2, 1)
        return CLAMP * torch.tanh(raw / CLAMP), offset


class InvertibleNetwork(nn.Module):
    """Blocks one after the other. The same object maps noise to latents, and latents back to noise.

    >>> network = InvertibleNetwork(4, blocks=2, hidden=8)
    >>> noise = torch.randn(3, 4)
    >>> latents, log_determinant = network(noise)
    >>> bool(torch.allclose(network.inverse(latents), noise, atol=1e-5)), log_determinant.tolist()
    (True, [0.0, 0.0, 0.0])

    Args:
        dimension: of the latents, at least 2.
        blocks: published: 8.
        hidden: width of each subnet; published: 256.
        conditions: numbers of a condition α that every block gets; 0 for none.
        seed: of rotations and initial weights.

    Raises:
        InputError: a dimension that cannot be split, or no block.
    """

    def __init__(
        self, dimension: int, *, blocks: int = 8, hidden: int = 256, conditions: int = 0, seed: int = 0
    ) -> None:
        super().__init__()
        if dimension < 2 or blocks < 1 or hidden < 1 or conditions < 0:
            raise InputError(
                f"an invertible network has at least 2 dimensions (a coupling splits them in two), 1 block and 1 "
                f"hidden unit; got {dimension}, {blocks} and {hidden}, with {conditions} conditions"
            )
        if dimension > MOST:
            raise InputError(
                f"an invertible network has at most {MOST} dimensions, because each holds a rotation of d × d; got "
                f"{dimension}: take a generator of fewer latents, such as autoencoder:FOLDER?dimension=512&images=…"
            )
        draws = torch.Generator().manual_seed(seed)
        self.dimension, self.hidden, self.conditions = dimension, hidden, conditions
        self.blocks = nn.ModuleList(CouplingBlock(dimension, hidden, conditions, draws) for _ in range(blocks))

    def forward(self, noise: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise (n, d), and a condition (n, k) where there is one → latents (n, d), log-determinant (n,).

        Raises:
            InputError: another shape, or a condition where none is taken, or none where one is.
        """
        self._check(noise, condition)
        x, log_determinant = noise, noise.new_zeros(len(noise))
        for block in self.blocks:
            x, own = block(x, condition)
            log_determinant = log_determinant + own
        return x, log_determinant

    def inverse(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        """Latents (n, d) → the noise (n, d) that they come from; errors as those of a call."""
        self._check(latents, condition)
        x = latents
        for block in reversed(self.blocks):
            x = block.inverse(x, condition)  # type: ignore[operator]
        return x

    def log_density(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        """Log p(z) of latents (n, d) under f of standard normal noise: (n,), nats."""
        noise = self.inverse(latents, condition)
        _, log_determinant = self(noise, condition)
        return standard_normal(noise) - log_determinant

    def _check(self, x: Tensor, condition: Tensor | None) -> None:
        if x.ndim != 2 or x.shape[1] != self.dimension:
            raise InputError(f"the invertible network takes (n, {self.dimension}); got {tuple(x.shape)}")
        came = 0 if condition is None else condition.shape[-1]
        if came != self.conditions or (condition is not None and condition.shape[:-1] != x.shape[:1]):
            shape = "none" if condition is None else str(tuple(condition.shape))
            raise InputError(f"expected a condition ({len(x)}, {self.conditions}) (none if 0); got {shape}")


def standard_normal(values: Tensor) -> Tensor:
    """Log N(values; 0, I) of each row of (n, d): (n,), nats.

    >>> round(float(standard_normal(torch.zeros(1, 2))), 4)
    -1.8379
    """
    half = 0.5 * torch.log(torch.tensor(2 * torch.pi, dtype=values.dtype)).to(values.device)
    return -0.5 * values.square().sum(1) - half * values.shape[1]
