"""Images that a generator makes without a condition: all the data that experts are fitted to.

H. Go et al. 2023, section 4.3: clean images of the unconditional model that will be guided, kept as 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import Provenance
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.models.diffusion.generate import generate
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.sampler import Sampler

_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class SyntheticImages:
    """Images with where they came from, and nothing else: there is no place for a label.

    Args:
        images: uint8 (n, 3, h, w).
        provenance: of each image.

    Raises:
        InputError: other images than bytes.
    """

    images: Tensor
    provenance: tuple[Provenance, ...]

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if self.images.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or not shape[0]:
            raise InputError(
                f"synthetic images are bytes, uint8 (n, 3, h, w); got {self.images.dtype} {shape}. Images in [0, 1] "
                f"become (images * 255).round().to(torch.uint8)"
            )
        if len(self.provenance) != shape[0]:
            raise InputError(f"{shape[0]} images came with the provenance of {len(self.provenance)}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def generators(self) -> tuple[str, ...]:
        """References of what made them."""
        return tuple(sorted({str(origin.generator) for origin in self.provenance}))


def synthetic_images(
    generator: Generator, count: int, *, steps: int, rng: Randomness, progress: Progress | None = None
) -> SyntheticImages:
    """Sample without condition (DDIM, no guidance): prompts are empty, the class is none.

    Args:
        generator: that will be guided.
        count: number of images.
        steps: of the sampler.
        rng: the seeds follow from it.
        progress: is called for each batch.

    Raises:
        InputError: a generator of classes that was trained without "none".
    """
    seeds = [derive_seed(rng.seed, *rng.path, "synthetic", number) % 2**31 for number in range(count)]
    made = generate(
        Sampler(generator, steps=steps),
        seeds,
        condition=generator.null(count),
        batch_size=_TOGETHER,
        progress=progress,
    )
    return SyntheticImages(made.bytes(), made.provenance)
