"""A generator whose denoiser is known exactly, a tiny classifier that could guide it, and a tiny fit of experts."""

from dataclasses import dataclass

import torch
from torch import nn

from snellen.core.classifier import Classifier, Normalization
from snellen.core.images import Provenance
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.methods.generation.synthetic_images import SyntheticImages
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.solver import alphas_cumprod
from snellen.systems.plug_and_play_guidance.expert_fitting import TransferFit
from snellen.training.batches import load_batch

SCHEDULE = {"num_train_timesteps": 100, "beta_start": 0.001, "beta_end": 0.2, "clip_sample": False}
NAMES = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class NormalDenoiser(Denoiser):
    """Of pixels that are independent and standard normal: x_t is too, and the noise in it is sqrt(1 - abar) x_t."""

    def __call__(self, latents, timesteps, condition):
        kept = self.alphas_cumprod[timesteps.long()].view(-1, 1, 1, 1)
        noise = (1 - kept).sqrt() * latents * self.network.weight
        if self.prediction == "epsilon":
            return noise
        clean = (latents - (1 - kept).sqrt() * noise) / kept.sqrt()
        return clean if self.prediction == "sample" else kept.sqrt() * noise - (1 - kept).sqrt() * clean


#: Finer: what a posterior is sampled with.
FINE = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "clip_sample": False}


def normal_generator(side=8, channels=3, name="normal", schedule=SCHEDULE, prediction="epsilon"):
    """Images whose pixels are standard normal in [-1, 1] units."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    kept = alphas_cumprod(schedule)
    return Generator(
        name, NormalDenoiser(network.requires_grad_(False), prediction, kept, channels, (side, side), 1), schedule
    )


class Block(nn.Module):
    """A residual block with a shortcut, as in a ResNet."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.one = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.two = nn.Conv2d(outputs, outputs, 1)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2), nn.BatchNorm2d(outputs))

    def forward(self, maps):
        return torch.relu(self.two(torch.relu(self.norm(self.one(maps)))) + self.shortcut(maps))


def tiny_network(seed=0, outputs=3, channels=6):
    """Eight-pixel images to scores; convolutions, BatchNorm with statistics of its own, a linear head."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            Block(channels, 8),
            nn.Flatten(),
            nn.Linear(8 * 16, outputs),
        )
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.2, 0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def tiny_classifier(seed=0, **options):
    """Three classes, with a normalisation of its own."""
    return Classifier(
        tiny_network(seed),
        class_names=NAMES,
        preparation=Preprocessing(size=(8, 8), resize="exact", resize_to=(8, 8)),
        normalization=Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
        name="tiny",
        **options,
    )


#: A fit of two experts in a few steps.
FIT = TransferFit(experts=2, rank=2, alpha=2, synthetic=8, synthetic_steps=2, iterations=2, batch_size=4)


def bytes_of(count=8, seed=0):
    return torch.randint(0, 256, (count, 3, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def made(count=8, seed=0, generator="normal"):
    origin = Provenance(origin="generated", generator=generator, seed=seed)
    return SyntheticImages(bytes_of(count, seed), (origin,) * count)


def batch_of(store, rows):
    positions = torch.tensor(rows)
    return load_batch(store, positions, Randomness(3).child("step"), torch.device("cpu"))
