"""Generators and classifiers whose distributions are known: images are flat colours that hold the latents."""

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.models.latent_generators.latent_generator import LatentGenerator
from snellen.systems.distributional_control.invertible_network import standard_normal

SIDE = 4


class Painted(nn.Module):
    """z (n, 2) → a flat image whose red is σ(z_0), green σ(z_1), blue a half; ``weight`` is there to be frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, latents: Tensor) -> Tensor:
        colours = torch.sigmoid(latents * self.weight)
        flat = torch.cat([colours, torch.full_like(colours[:, :1], 0.5)], 1)
        return flat[:, :, None, None].expand(-1, -1, SIDE, SIDE)


def painted(name: str = "painted") -> LatentGenerator:
    return LatentGenerator(Painted(), 2, name=name)


def latents_in(images: Tensor) -> Tensor:
    """The latents that an image of :class:`Painted` holds."""
    return torch.logit(images.mean((2, 3))[:, :2].double(), eps=1e-6).to(images.dtype)


class Threshold(nn.Module):
    """Logits of whether z_0 lies below or above a bound; ``slope`` is how sure it is."""

    def __init__(self, bound: float, slope: float = 8.0) -> None:
        super().__init__()
        self.bound, self.slope = nn.Parameter(torch.tensor(bound)), slope

    def forward(self, images: Tensor) -> Tensor:
        far = self.slope * (latents_in(images)[:, 0] - self.bound)
        return torch.stack([-far / 2, far / 2], 1)


def threshold(bound: float = 1.0, slope: float = 8.0) -> Classifier:
    return Classifier(
        Threshold(bound, slope),
        class_names=["below", "above"],
        preparation=Preprocessing(size=(SIDE, SIDE)),
        name="threshold",
    )


class MixtureEnergy:
    """An energy under which the prior becomes a mixture of two Gaussians, so that the target density is known."""

    name, needs_neutral = "mixture", False
    centres = torch.tensor([[-1.2, 0.6], [1.0, -0.4]])
    shares, spread = torch.tensor([0.3, 0.7]), 0.6

    def log_density(self, latents: Tensor) -> Tensor:
        parts = [
            standard_normal((latents - centre) / self.spread) - 2 * torch.tensor(self.spread).log() + share.log()
            for centre, share in zip(self.centres, self.shares, strict=True)
        ]
        return torch.stack(parts).logsumexp(0)

    def __call__(self, images, pairing, draws):
        latents = latents_in(images)
        return standard_normal(latents) - self.log_density(latents)
