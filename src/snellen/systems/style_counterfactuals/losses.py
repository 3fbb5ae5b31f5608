"""The losses of ProjectedEx: hinge with its sign turned, gradient penalty, reconstruction, consistency.

Qi et al., CBMS 2025, arXiv 2501.01392; those of StylEx (Lang et al., ICCV 2021). A critic's score is *low* for real
images here: mean(relu(1 + D(real)) + relu(1 − D(fake))) for the critic, mean(D(fake)) for the generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

#: Weights of the reconstruction loss: perceptual distance, codes, pixels.
PERCEPTUAL, CODES, PIXELS = 0.1, 0.1, 1.0

#: Half of all steps are noise steps without reconstruction; what the encoder steps add counts twice.
ALTERNATION = 2.0


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the critic, of scores (n,) each; a scalar.

    >>> float(critic_loss(torch.tensor([-2.0]), torch.tensor([3.0])))
    0.0
    """
    return (F.relu(1 + real) + F.relu(1 - fake)).mean()


def adversarial_loss(fake: Tensor) -> Tensor:
    """What the generator lowers: the mean score of its images, (n,) → a scalar."""
    return fake.mean()


def gradient_penalty(images: Tensor, scores: Tensor, weight: float = 10.0) -> Tensor:
    """Weight · mean((‖∇ D‖ − 1)²) at real images (n, 3, h, w), which must require gradients; scores are (n,)."""
    (gradients,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return weight * (gradients.flatten(1).norm(dim=1) - 1).square().mean()


def min_max(images: Tensor) -> Tensor:
    """Each image stretched to [−1, 1] by its own least and largest value; an image of one value becomes 0.

    >>> min_max(torch.tensor([[[[0.25, 0.75]]]])).tolist()
    [[[[-1.0, 1.0]]]]
    """
    low, high = images.flatten(1).amin(1), images.flatten(1).amax(1)
    middle, half = ((high + low) / 2)[:, None, None, None], ((high - low) / 2)[:, None, None, None]
    return (images - middle) / half.clamp(min=1e-6)


def perceptual_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Distance of two batches in maps of a network: (n,) ≥ 0.

    As in LPIPS (Zhang et al., CVPR 2018) vectors of channels are scaled to length 1, squared differences are summed
    over channels, averaged over places and summed over layers. No weights of channels are learned, so it is not LPIPS.

    Args:
        first: maps (n, c, h, w) of each layer.
        second: those of the other images.
    """
    total = first[0].new_zeros(len(first[0]))
    for one, other in zip(first, second, strict=True):
        total = total + (F.normalize(one, dim=1) - F.normalize(other, dim=1)).square().sum(1).mean((1, 2))
    return total


def nearness_loss(images: Tensor, remade: Tensor) -> Tensor:
    """|x − x̂|₁ + |∇x − ∇x̂|₁, means over entries; a scalar: what a warm-up lowers. Edges keep outlines from blurring.

    >>> black, grey = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5)
    >>> float(nearness_loss(black, grey))
    0.5

    Args:
        images: (n, 3, h, w).
        remade: their reconstructions.
    """
    apart = images - remade
    return apart.abs().mean() + apart.diff(dim=2).abs().mean() + apart.diff(dim=3).abs().mean()


def reconstruction_loss(
    images: Tensor, remade: Tensor, perceptual: Tensor, codes: Tensor, remade_codes: Tensor
) -> Tensor:
    """0.1 · perceptual + 0.1 · |E(x̂) − E(x)|₁ + |x − x̂|₁, means over the batch and over entries; a scalar.

    Args:
        images: (n, 3, h, w).
        remade: their reconstructions.
        perceptual: (n,), perceptual distance of each pair.
        codes: (n, d), of the images.
        remade_codes: of the reconstructions.
    """
    return (
        PERCEPTUAL * perceptual.mean()
        + CODES * (remade_codes - codes).abs().mean()
        + PIXELS * (images - remade).abs().mean()
    )


def consistency_loss(scores: Tensor, remade_scores: Tensor) -> Tensor:
    """KL(softmax C(x) ‖ softmax C(x̂)), mean over the batch; scores are (n, K), K ≥ 2.

    The prediction for the image is the truth: x̂ is punished where it lacks what C(x) was sure of.

    >>> one, other = torch.tensor([[0.0, 9.0]]), torch.tensor([[0.0, 0.0]])
    >>> round(float(consistency_loss(one, other)), 3), round(float(consistency_loss(other, one)), 3)
    (0.692, 3.807)
    """
    own, remade = scores.log_softmax(1), remade_scores.log_softmax(1)
    return (own.exp() * (own - remade)).sum(1).mean()


def encoder_step_loss(
    adversarial: Tensor, reconstruction: Tensor, consistency: Tensor, *, rec_scale: float, kl_scale: float
) -> Tensor:
    """Adversarial + 2 · (rec_scale · reconstruction + kl_scale · consistency), of one encoder step."""
    return adversarial + ALTERNATION * (rec_scale * reconstruction + kl_scale * consistency)


def path_lengths(images: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """Lengths ‖Jᵀ y‖ of StyleGAN2's path regularisation, (n,): how far images move when styles do.

    Args:
        images: (n, 3, h, w), made of ``styles``.
        styles: (n, S), part of the graph.
        noise: standard normal, of the shape of the images.
    """
    scaled = noise / (images.shape[2] * images.shape[3]) ** 0.5
    (gradients,) = torch.autograd.grad((images * scaled).sum(), styles, create_graph=True)
    return gradients.square().mean(1).sqrt()
