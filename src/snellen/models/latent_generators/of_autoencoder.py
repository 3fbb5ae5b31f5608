"""The decoder of an autoencoder as a latent generator, with a prior that is fitted to the latents of images.

Latents of a Stable Diffusion autoencoder are maps without a prior. Their principal components over a set of images give
one: with mean m and components V diag(s) of n images, z ~ N(0, I) in d dimensions becomes m + V diag(s) z / √n.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.models.latent_generators.latent_generator import LatentGenerator


@dataclass(frozen=True, eq=False)
class LatentPrior:
    """A Gaussian of low rank over flat latents.

    Attributes:
        mean: (D,).
        basis: (d, D), rows are components times their standard deviation.
        explained: share of the variance that the components hold, in (0, 1].
    """

    mean: Tensor
    basis: Tensor
    explained: float


def fit_prior(latents: Tensor, dimension: int) -> LatentPrior:
    """Principal components of latents.

    >>> prior = fit_prior(torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.0, 1.0], [0.0, 2.0, 1.0], [2.0, 2.0, 1.0]]), 2)
    >>> prior.mean.tolist(), round(prior.explained, 6)
    ([1.0, 1.0, 1.0], 1.0)

    Args:
        latents: flat, (n, D).
        dimension: d, below n and at most D.

    Raises:
        InputError: too few images, or latents that do not vary in so many directions.
    """
    count, whole = latents.shape
    if not 2 <= dimension < count or dimension > whole:
        raise InputError(
            f"a prior of {dimension} dimensions needs more than {dimension} images, and latents of at least as many "
            f"numbers; got {count} images and {whole} numbers"
        )
    wide = latents.double()
    mean = wide.mean(0)
    _, spread, components = torch.linalg.svd(wide - mean, full_matrices=False)
    if float(spread[dimension - 1]) <= 1e-9 * max(float(spread[0]), 1e-30):
        raise InputError(f"the latents of these {count} images vary in fewer than {dimension} directions")
    basis = components[:dimension] * (spread[:dimension, None] / count**0.5)
    explained = float(spread[:dimension].square().sum() / spread.square().sum())
    return LatentPrior(mean.float(), basis.float(), explained)


class DecodedPrior(nn.Module):
    """z (n, d) → latents of the prior → images (n, 3, h, w) in [−1, 1].

    Args:
        autoencoder: an ``AutoencoderKL`` of diffusers.
        prior: of its latents.
        shape: of one latent map.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, autoencoder: nn.Module, prior: LatentPrior, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.autoencoder, self.shape = autoencoder, shape
        self.register_buffer("mean", prior.mean)
        self.register_buffer("basis", prior.basis)

    def forward(self, latents: Tensor) -> Tensor:
        """Decode."""
        maps = (self.mean + latents.float() @ self.basis).unflatten(1, self.shape)
        weights = next(self.autoencoder.parameters())
        decoded: Tensor = self.autoencoder.decode(maps.to(weights.dtype), return_dict=False)[0]  # type: ignore[operator]
        return decoded.float()


def decoded_prior(
    autoencoder: nn.Module, images: Tensor, *, dimension: int = 64, name: str, together: int = 32
) -> LatentGenerator:
    """The decoder of an autoencoder with a prior fitted to images.

    Args:
        autoencoder: an ``AutoencoderKL`` of diffusers.
        images: float (n, 3, h, w) in [0, 1], of one size that the autoencoder takes.
        dimension: d, below n.
        name: the reference by which it is found again.
        together: images that are encoded at once.

    Raises:
        InputError: images of another form, or too few.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"images have shape (n, 3, h, w); got {tuple(images.shape)}")
    autoencoder.eval().requires_grad_(False)
    weights = next(autoencoder.parameters())
    with torch.no_grad():
        maps = torch.cat(
            [
                autoencoder.encode((part * 2 - 1).to(weights)).latent_dist.mean.float().cpu()  # type: ignore[operator]
                for part in images.split(together)
            ]
        )
    prior = fit_prior(maps.flatten(1), dimension)
    decoder = DecodedPrior(autoencoder, prior, tuple(maps.shape[1:]))
    return LatentGenerator(decoder, dimension, name=name, values="signed", device=weights.device)
