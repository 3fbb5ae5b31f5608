"""Knowledge transfer without data: experts learn to predict for noisy images what their teacher predicts for the clean
ones.

H. Go et al., *Towards Practical Plug-and-Play Diffusion Models*, CVPR 2023, arXiv 2212.05973, section 4.3. The clean
images are the generator's own, no label occurs. For a classifier the loss is KL(softmax(y / T) ‖ softmax(y')), with y
of the teacher, y' of the expert and a temperature T on the teacher's side alone, which sharpens it; for maps it is the
mean squared error. The teacher runs once, on each image and its mirror image.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.images import Split
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.methods.generation.synthetic_images import SyntheticImages
from snellen.methods.generation.teachers import Teacher, latents_of, pictures
from snellen.models.diffusion.denoiser import add_noise
from snellen.models.diffusion.generator import Generator
from snellen.systems.plug_and_play_guidance.low_rank_experts import NoiseRanges
from snellen.training.batches import Batch, Examples, ImageStore

#: (answers of an expert, answers of its teacher), both (n, ...) → losses (n,).
Loss = Callable[[Tensor, Tensor], Tensor]

#: Over the classes. The published code takes the mean: 1/k of the divergence, and of its gradient.
Reduction = Literal["mean", "sum"]

_TOGETHER = 64


def sharpened_divergence(temperature: float = 0.25, reduction: Reduction = "mean") -> Loss:
    """KL(softmax(y / T) ‖ softmax(y')), T on the teacher's side alone.

    >>> teacher = torch.tensor([[1.0, 0.0]])
    >>> round(float(sharpened_divergence(1.0)(teacher, teacher)), 6)
    0.0
    >>> again = sharpened_divergence(0.25, "sum")(4 * teacher, teacher)  # softmax(y / 0.25) is softmax(4 y)
    >>> round(float(again), 6)
    0.0

    Of a segmentation, whose scores are maps (n, k, h, w), it is the mean over the places.

    Args:
        temperature: T above 0; below 1 sharpens.
        reduction: of the classes.

    Raises:
        InputError: T is not above 0.
    """
    if not 0 < temperature < float("inf"):
        raise InputError(f"a temperature is a number above 0, got {temperature}")

    def loss(answers: Tensor, taught: Tensor) -> Tensor:
        logarithms = answers.float().log_softmax(1)
        terms = F.kl_div(logarithms, (taught.float() / temperature).softmax(1), reduction="none")
        of_places = terms.mean(1) if reduction == "mean" else terms.sum(1)
        return of_places.reshape(len(of_places), -1).mean(1)

    return loss


def map_error(answers: Tensor, taught: Tensor) -> Tensor:
    """Mean squared error of maps (n, ...), of each image: (n,)."""
    return (answers.float() - taught.float()).square().flatten(1).mean(1)


@torch.no_grad()
def taught_examples(
    teacher: Teacher,
    generator: Generator,
    synthetic: SyntheticImages,
    *,
    file: Path | None = None,
    progress: Progress | None = None,
) -> Examples:
    """What a transfer reads: images, and the teacher's answers for image and mirror image as targets (n, 2, ...).

    A generator in pixels needs bytes alone; with an autoencoder, the latents of image and mirror image are kept.

    Args:
        teacher: scores each image and its mirror image once.
        generator: that made the images.
        synthetic: the images.
        file: where answers are written and mapped into memory, for as many as the disk holds; None keeps them in
            memory. For generators in pixels alone.
        progress: callback that receives progress updates.

    Raises:
        InputError: images of a size that the generator does not make, or a file with a generator in latents.
    """
    if file is not None and generator.vae is not None:
        raise InputError(f"answers are written to a file for generators in pixels; {generator.name} works in latents")
    listener = progress or Silent()
    listener.begin("asking the teacher", len(synthetic))
    kept, targets = list[Tensor](), list[Tensor]()
    mapped: Tensor | None = None
    for start in range(0, len(synthetic), _TOGETHER):
        part = synthetic.images[start : start + _TOGETHER]
        both = torch.stack([part, part.flip(3)], 1).flatten(0, 1).to(teacher.device)
        answers = teacher(to_unit(both)).float().cpu().unflatten(0, (len(part), 2))
        if file is None:
            targets.append(answers)
        else:
            if mapped is None:
                shape = (len(synthetic), *answers.shape[1:])
                size = math.prod(shape)
                mapped = torch.from_file(str(file), shared=True, size=size, dtype=torch.float32).view(shape)
            mapped[start : start + len(part)] = answers
        if generator.vae is not None:
            latents = latents_of(generator, to_unit(both)).cpu()
            kept.append(latents.unflatten(0, (len(part), 2)))
        listener.advance("asking the teacher", len(part))
    listener.finish("asking the teacher")
    if mapped is not None:
        origin = f"{teacher.identity()} {generator.name} {len(synthetic)} {synthetic.provenance[0].seed}"
        return TaughtFiles(synthetic.images, mapped, origin)
    images = torch.cat(kept) if kept else synthetic.images
    return ImageStore.of_tensors(images, torch.cat(targets), ids=[f"synthetic {row}" for row in range(len(images))])


@dataclass(frozen=True, eq=False)
class TaughtFiles:
    """The same, mapped from files; a fingerprint that reads no pixel.

    Args:
        images: uint8 (n, 3, h, w).
        targets: float32 (n, 2, ...).
        origin: what made them.
    """

    images: Tensor
    targets: Tensor
    origin: str
    split: Split | None = None
    rejected: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """One for each image."""
        return tuple(f"synthetic {row}" for row in range(len(self.images)))

    @property
    def weights(self) -> Tensor:
        """1 for each."""
        return torch.ones(len(self.images))

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images and targets of these positions."""
        return self.images[positions], self.targets[positions]

    def fingerprint(self) -> str:
        """Hash of what made them (sha256, hex)."""
        return hashlib.sha256(self.origin.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class NoisyImages:
    """How a training sees images at the noise of one expert: mirrored at random, noised, decoded.

    Args:
        generator: whose schedule and latents.
        teacher: prepares what is seen.
        ranges: of the experts.
        expert: whose range timesteps are drawn from, one for each image.
    """

    generator: Generator
    teacher: Teacher
    ranges: NoiseRanges
    expert: int

    def __call__(self, batch: Batch, mirrored: Tensor) -> Tensor:
        """Noisy images as the network takes them, (n, 3, h, w); ``mirrored`` says which to flip, bool (n,)."""
        # A training takes the device that it finds, which need not be where generator and teacher are.
        where = self.generator.device
        clean = self.clean(batch.images.to(where), mirrored.to(where))
        timesteps = self.ranges.draw(self.expert, batch.rng, like=clean)
        noise = batch.rng.normal("noise", clean.shape[1:], like=clean)
        noisy = add_noise(clean, noise, self.generator.denoiser.alphas_cumprod, timesteps)
        with torch.no_grad():
            return self.teacher.prepare(pictures(self.generator, noisy)).to(batch.images.device)

    def clean(self, images: Tensor, mirrored: Tensor) -> Tensor:
        """Clean latents, mirrored where requested: of images (n, 3, h, w) in [0, 1], or chosen from latents (n, 2,
        ...).
        """
        if images.ndim == 5:
            return images[torch.arange(len(images), device=images.device), mirrored.long()]
        return latents_of(self.generator, torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images))


@dataclass(frozen=True, eq=False)
class Transfer:
    """The objective of one expert: predict what the teacher predicts for the clean image, from the noisy one.

    Args:
        noisy: how the expert sees.
        loss: of its answers.
    """

    noisy: NoisyImages
    loss: Loss

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (n,)."""
        mirrored = random_mirrors(batch)
        taught = batch.targets[torch.arange(len(mirrored), device=mirrored.device), mirrored.long()]
        return self.loss(model(self.noisy(batch, mirrored)), taught)


def random_mirrors(batch: Batch) -> Tensor:
    """Which images of a batch to mirror: each with probability one half, bool (n,)."""
    return batch.rng.uniform("mirrored", (), like=batch.images) < 0.5
