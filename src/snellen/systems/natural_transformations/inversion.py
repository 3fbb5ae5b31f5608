"""Images → latent codes after NaTra (arXiv 2105.04070): batch inversion with shifting (BIES), codes expansion (LCE).

The abstract names both steps; their equations could not be read, and those below are a reconstruction. An image x has
N codes w⁽ⁿ⁾ ∈ R^{L × d}, one row for each layer of the generator, and N vectors of channel weights α⁽ⁿ⁾ at one layer:

    F = Σ_n α⁽ⁿ⁾ · G1(w⁽ⁿ⁾),   x̂ = G2(F; mean over n of w⁽ⁿ⁾)

after mGANprior (Gu, Shen and Zhou, CVPR 2020, arXiv 1912.07116, equation 2). N = 1 with α = 1 is plain inversion.
Shifting minimises, over a residual D of the encoder's codes of a whole batch, W = W0 + D,

    mean_i [ |x_i − x̂_i|² + a_p · P(x_i, x̂_i) + a_r · (|w_i − w̄|²_{Σ⁻¹} − 1)² ]
        + a_m · ( |mean(W) − w̄|² + |std(W) − σ|² )

where squares are means over pixels in [−1, 1] or over numbers of a code, P is a perceptual distance, and the last two
terms are in standard deviations of the generator's own codes, so that 1 is large. Codes of the prior have a
|w − w̄|²_{Σ⁻¹} of about 1, and the mean code has 0 and is none of them: the pull is towards 1, not towards w̄.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.core.randomness import Randomness

#: Two batches of images (n, 3, h, w) in [0, 1] → their distances (n,), at least 0, with gradients.
Perceptual = Callable[[Tensor, Tensor], Tensor]

#: Share of the mean variance that is added to every variance of a prior, so that its inverse exists.
_RIDGE = 1e-3


@dataclass(frozen=True, eq=False)
class Prior:
    """Mean and covariance of the generator's own codes, the same for every layer.

    >>> prior = Prior.of_codes(torch.tensor([[0.0, 2.0], [2.0, 0.0], [0.0, 0.0], [2.0, 2.0]]))
    >>> prior.mean.tolist(), [round(float(one), 2) for one in prior.deviation]
    ([1.0, 1.0], [1.0, 1.0])

    Attributes:
        mean: w̄, (d,).
        covariance: Σ, (d, d).
    """

    mean: Tensor
    covariance: Tensor
    inverse: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        wide = self.covariance.double()
        ridge = _RIDGE * wide.diagonal().mean().clamp_min(1e-12) * torch.eye(len(wide)).to(wide)
        object.__setattr__(self, "inverse", torch.linalg.inv(wide + ridge).to(self.mean))

    @classmethod
    def of_codes(cls, codes: Tensor) -> Prior:
        """Moments of codes (m, d), m above 1."""
        if codes.ndim != 2 or len(codes) < 2:
            raise InputError(f"a prior is fitted to two codes or more, (m, d); got {tuple(codes.shape)}")
        wide = codes.double()
        centred = wide - wide.mean(0)
        return cls(wide.mean(0).to(codes), (centred.T @ centred / len(codes)).to(codes))

    @property
    def deviation(self) -> Tensor:
        """σ_w: standard deviation of each number of a code, (d,)."""
        return self.covariance.diagonal().clamp_min(1e-12).sqrt()

    def distance(self, codes: Tensor) -> Tensor:
        """Mean over layers and numbers of |w − w̄|²_{Σ⁻¹}: codes (n, L, d) → (n,); about 1 for codes of the prior."""
        apart = codes - self.mean
        return torch.einsum("nld,de,nle->nl", apart, self.inverse, apart).mean(1) / codes.shape[-1]


def moment_distance(codes: Tensor, prior: Prior) -> tuple[Tensor, Tensor]:
    """How far the mean and the deviation of a batch of codes are from the prior's, in its standard deviations, squared.

    >>> codes = torch.tensor([[[3.0]], [[1.0]]])
    >>> [float(one) for one in moment_distance(codes, Prior(torch.zeros(1), torch.eye(1)))]
    [4.0, 0.0]

    Args:
        codes: (n, L, d), n above 1; of one code the deviation is 0.
        prior: of the generator.

    Returns:
        Means over layers and numbers of (mean − w̄)² / σ² and of (std − σ)² / σ², each ().
    """
    deviation = prior.deviation
    middle = (codes.mean(0) - prior.mean) / deviation
    spread = codes.var(0, unbiased=False).clamp_min(1e-12).sqrt() / deviation - 1
    return middle.square().mean(), spread.square().mean()


@dataclass(frozen=True, eq=False)
class SplitGenerator:
    """A frozen generator that is cut at a layer, G = G2 ∘ G1.

    Attributes:
        coarse: G1: codes (n, L, d) → features (n, C, h, w).
        fine: G2: features (n, C, h, w) and codes (n, L, d) → images (n, 3, H, W) in [0, 1].
        prior: of its codes.
        layers: L.
        channels: C.
        affine: for each layer, the weights (outputs, d) of the affine layer that reads its code.
        identity: hash of its weights and of the layer at which it is cut.
    """

    coarse: Callable[[Tensor], Tensor]
    fine: Callable[[Tensor, Tensor], Tensor]
    prior: Prior
    layers: int
    channels: int
    affine: tuple[Tensor, ...]
    identity: str

    def __call__(self, codes: Tensor) -> Tensor:
        """Plain generation: codes (n, L, d) → images (n, 3, H, W) in [0, 1]."""
        return self.fine(self.coarse(codes), codes)


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes of n images.

    Attributes:
        values: w⁽ⁿ⁾, (n, N, L, d).
        weights: α⁽ⁿ⁾, (n, N, C).
    """

    values: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Tensor) -> Codes:
        return Codes(self.values[rows], self.weights[rows])

    def to(self, device: torch.device | str) -> Codes:
        """The same on a device."""
        return Codes(self.values.to(device), self.weights.to(device))

    @property
    def mean(self) -> Tensor:
        """Mean over the N codes of an image, (n, L, d): what layers above the cut read."""
        return self.values.mean(1)

    @classmethod
    def plain(cls, codes: Tensor, channels: int) -> Codes:
        """One code for each image, (n, L, d), with weights 1."""
        return cls(codes[:, None], torch.ones(len(codes), 1, channels).to(codes))


def render(generator: SplitGenerator, codes: Codes, shift: Tensor | None = None) -> Tensor:
    """x̂ = G2(Σ_n α⁽ⁿ⁾ · G1(w⁽ⁿ⁾ + s)), the same shift s for all N codes of an image.

    Args:
        generator: cut at a layer.
        codes: of n images.
        shift: (n, L, d); None or zeros: the reconstruction.

    Returns:
        Images (n, 3, H, W) in [0, 1].
    """
    values = codes.values if shift is None else codes.values + shift[:, None]
    count, several = values.shape[:2]
    features = generator.coarse(values.flatten(0, 1)).unflatten(0, (count, several))
    together = (features * codes.weights[..., None, None]).sum(1)
    return generator.fine(together, values.mean(1))


class InversionSettings(BaseModel):
    """Numbers of the inversion. All of them are ours: the paper's could not be read.

    >>> InversionSettings().codes
    4
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    codes: int = Field(4, ge=1, le=64, description="codes of each image (N); 1 is plain inversion")
    steps: int = Field(60, ge=0, description="steps of the shifting, which has one code for each image")
    expansion_steps: int = Field(60, ge=0, description="steps with all codes and their channel weights")
    rate: float = Field(0.02, gt=0, description="learning rate of Adam")
    perceptual: float = Field(0.8, ge=0, description="weight of the perceptual distance (a_p)")
    pull: float = Field(
        1e-3, ge=0, description="weight of each code's distance to the shell of the generator's codes (a_r)"
    )
    moments: float = Field(1e-2, ge=0, description="weight of mean and deviation of a batch of codes (a_m)")
    noise: float = Field(
        0.05, ge=0, description="noise that the codes of an image begin with, in standard deviations of the prior"
    )
    batch: int = Field(64, ge=1, description="images that are inverted together")


def inversion_loss(
    images: Tensor,
    rendered: Tensor,
    codes: Tensor,
    prior: Prior,
    settings: InversionSettings,
    perceptual: Perceptual | None = None,
) -> Tensor:
    """The loss of the module's second equation, ().

    Args:
        images: (n, 3, h, w) in [0, 1].
        rendered: alike.
        codes: of all images and, where there are several, all their codes: (m, L, d).
        prior: of the generator.
        settings: weights.
        perceptual: distance; None leaves the term out.
    """
    apart = (2 * (rendered - images)).square().mean()
    if perceptual is not None and settings.perceptual:
        apart = apart + settings.perceptual * perceptual(images, rendered).mean()
    middle, spread = moment_distance(codes, prior) if len(codes) > 1 else (codes.new_zeros(()),) * 2
    return apart + settings.pull * (prior.distance(codes) - 1).square().mean() + settings.moments * (middle + spread)


def invert(
    generator: SplitGenerator,
    images: Tensor,
    start: Tensor,
    settings: InversionSettings,
    *,
    rng: Randomness,
    perceptual: Perceptual | None = None,
) -> Codes:
    """Shift the encoder's codes of a batch, then expand them; with one code, all steps shift.

    So ``codes=1`` and ``codes=4`` take equally many steps. The batch is a unit: the moments are its own.

    Args:
        generator: cut at a layer.
        images: (n, 3, h, w) in [0, 1].
        start: W0 of the encoder, (n, L, d).
        settings: numbers.
        rng: of the noise, bound to the images.
        perceptual: distance of the loss.

    Raises:
        InputError: images of another size than the generator makes.
        ModelError: codes that are not finite.
    """
    rng = rng.bind(len(images))
    with torch.no_grad():
        made = generator(start)
    if made.shape != images.shape:
        raise InputError(
            f"the generator makes images of {tuple(made.shape[1:])}, and these are {tuple(images.shape[1:])}: prepare "
            f"them to the generator's size, or name a generator of this size"
        )
    plain = settings.codes == 1
    residual = _descend(
        lambda shift: (start + shift[0], Codes.plain(start + shift[0], generator.channels)),
        [torch.zeros_like(start)],
        (generator, images, perceptual),
        settings,
        settings.steps + (settings.expansion_steps if plain else 0),
    )[0]
    shifted = start + residual
    if plain:
        return _finite(Codes.plain(shifted, generator.channels))
    first = expanded(shifted, settings, generator, rng)
    values, weights = _descend(
        lambda both: (both[0].flatten(0, 1), Codes(both[0], both[1])),
        [first.values, first.weights],
        (generator, images, perceptual),
        settings,
        settings.expansion_steps,
    )
    return _finite(Codes(values, weights))


def expanded(codes: Tensor, settings: InversionSettings, generator: SplitGenerator, rng: Randomness) -> Codes:
    """Codes (n, L, d) → N copies with a little noise, and weights 1 / N: nearly the same image."""
    count = settings.codes
    drawn = rng.normal("expansion", (count, *codes.shape[1:]), like=codes) * settings.noise * generator.prior.deviation
    weights = torch.full((len(codes), count, generator.channels), 1 / count).to(codes)
    return Codes(codes[:, None] + drawn, weights)


def _descend(
    shown: Callable[[list[Tensor]], tuple[Tensor, Codes]],
    variables: list[Tensor],
    given: tuple[SplitGenerator, Tensor, Perceptual | None],
    settings: InversionSettings,
    steps: int,
) -> list[Tensor]:
    """Adam on variables, from which ``shown`` makes the codes that the prior judges and those that are rendered."""
    generator, images, perceptual = given
    free = [one.detach().clone().requires_grad_(True) for one in variables]
    optimizer = torch.optim.Adam(free, lr=settings.rate)
    with torch.enable_grad():
        for _ in range(steps):
            judged, codes = shown(free)
            loss = inversion_loss(images, render(generator, codes), judged, generator.prior, settings, perceptual)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return [one.detach() for one in free]


def _finite(codes: Codes) -> Codes:
    if not bool(torch.isfinite(codes.values).all() and torch.isfinite(codes.weights).all()):
        raise ModelError("the inversion gave codes that are not finite; lower its rate")
    return codes


def peak_ratio(images: Tensor, rendered: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, decibels: (n, 3, h, w) in [0, 1] → (n,), at most 100.

    >>> round(float(peak_ratio(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.1))[0]), 2)
    20.0
    """
    return -10 * (rendered - images).square().flatten(1).mean(1).clamp_min(1e-10).log10()
