"""How busy a picture is, and losses that make its background busier, plainer, or misleading while it is denoised.

Li et al., *ImageNet-E* (CVPR 2023). With x0 the estimate of the picture in [−1, 1]:

    C(x0) = mean |FFT2((x0 + 1) / 2)| over channels and frequencies
    loss = −λ C(x0) + 50 mean (x0 − clip(x0, −1, 1))² + a log p(y | x0)

One signed λ: above 0 busier, below 0 plainer (in the published script the flag that makes negative values work is on
by accident). The gradient of C has the same length at any size, and the pixels of a small picture share it among fewer.
How far a λ moves C depends on the generator: one of latents can follow only what its decoder can draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.models.diffusion.guidance import GradientGuidance
from snellen.models.diffusion.step_view import StepView

#: Weight of the loss of values outside of the range.
RANGE_WEIGHT = 50.0


def complexity(images: Tensor, *, constant: bool = True) -> Tensor:
    """Mean absolute value of the Fourier transform over channels and frequencies, (n,).

    >>> flat, busy = torch.full((1, 3, 4, 4), 0.5), torch.rand(1, 3, 4, 4).round()
    >>> complexity(flat), bool(complexity(busy, constant=False) > complexity(flat, constant=False))
    (tensor([0.5000]), True)

    Args:
        images: float (n, c, h, w) in [0, 1].
        constant: with the frequency 0, as published: brightness then counts as complexity.
    """
    spectrum = torch.fft.fft2(images).abs()
    if not constant:
        keep = torch.ones_like(spectrum)
        keep[..., 0, 0] = 0
        spectrum = spectrum * keep
    return spectrum.mean((1, 2, 3))


@dataclass(frozen=True, eq=False)
class EditLoss:
    """The loss of a batch of pictures.

    Args:
        weights: λ of each picture, (n,).
        adversarial: a, of each picture, (n,); 0 leaves the classifier out.
        log_probability: pictures (n, 3, h, w) in [0, 1] → log p of the class of each, (n,); None without a classifier.
        constant: whether the frequency 0 counts.
    """

    weights: Tensor
    adversarial: Tensor
    log_probability: Callable[[Tensor], Tensor] | None = None
    constant: bool = True

    @property
    def active(self) -> Tensor:
        """Which pictures have any loss to follow, bool (n,); of the others no range is kept either."""
        return (self.weights != 0) | (self.adversarial != 0)

    def __call__(self, decoded: Tensor) -> Tensor:
        """The loss of each picture, (n,).

        Args:
            decoded: estimates (n, 3, h, w); [0, 1] is the range, and they may leave it.
        """
        centred = decoded * 2 - 1
        loss = -self.weights.to(decoded) * complexity(decoded, constant=self.constant)
        loss = loss + RANGE_WEIGHT * (centred - centred.clamp(-1, 1)).square().mean((1, 2, 3))
        if self.log_probability is not None and bool((self.adversarial != 0).any()):
            loss = loss + self.adversarial.to(decoded) * self.log_probability(decoded.clamp(0, 1))
        return loss


def loss_guidance(loss: EditLoss, decode: Callable[[Tensor], Tensor]) -> GradientGuidance | None:
    """Guidance down the gradient of a loss, through the denoiser; None where no picture has any.

    The published mean of a step is moved by Σ times the gradient, which is guidance of scale w − 1 = 1.

    Args:
        loss: of the pictures.
        decode: latents → pictures, not cut to [0, 1], so that the range can be kept.
    """
    active = loss.active
    if not bool(active.any()):
        return None

    def score(latents: Tensor, view: StepView) -> Tensor:
        # Through the network: the estimate depends on the latents as it does.
        return -loss(decode(view.x0(view.evaluate(latents), latents)))

    return GradientGuidance(score, torch.where(active.cpu(), 2.0, 1.0))
