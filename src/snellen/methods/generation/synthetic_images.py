"""Images that a generator makes without a condition: all the data that experts are fitted to.

H. Go et al. 2023, section 4.3: clean images of the unconditional model that will be guided, kept as 8 bits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import torch
from torch import Tensor

from snellen.core.errors import InputError, RunConflictError
from snellen.core.images import Provenance
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness, derive_seed
from snellen.core.run import canonical_json, write_atomically
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
    provenance: Sequence[Provenance]

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
        if isinstance(self.provenance, Sampled):
            return (self.provenance.generator,)
        return tuple(sorted({str(origin.generator) for origin in self.provenance}))


@dataclass(frozen=True, eq=False)
class Sampled(Sequence[Provenance]):
    """Where images come from that one generator made of their seeds, without a record of each in memory.

    Args:
        generator: its name.
        rng: the seeds follow from it and from the position.
        images: how many.
    """

    generator: str
    rng: Randomness
    images: int

    def __len__(self) -> int:
        return self.images

    @overload
    def __getitem__(self, at: int) -> Provenance: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Provenance]: ...
    def __getitem__(self, at: int | slice) -> Provenance | Sequence[Provenance]:
        """Of an image, or of several."""
        if isinstance(at, slice):
            return [self[row] for row in range(*at.indices(self.images))]
        row = range(self.images)[at]
        seed = _seed(self.rng, row)
        return Provenance(origin="generated", generator=self.generator, seed=seed, guidance_scale=1.0)


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
    seeds = [_seed(rng, number) for number in range(count)]
    made = generate(
        Sampler(generator, steps=steps),
        seeds,
        condition=generator.null(count),
        batch_size=_TOGETHER,
        progress=progress,
    )
    return SyntheticImages(made.bytes(), made.provenance)


def written_images(
    folder: Path, generator: Generator, count: int, *, steps: int, rng: Randomness, progress: Progress | None = None
) -> SyntheticImages:
    """The images of :func:`synthetic_images` in a file that is mapped into memory: as many as the disk holds.

    A call that was stopped resumes behind the batches that it finished.

    Args:
        folder: for ``images.bytes`` (uint8, one image behind the other) and ``done.json``; of one generator and rng.
        generator: that will be guided.
        count: number of images.
        steps: of the sampler.
        rng: the seeds follow from it.
        progress: is called for each image.

    Raises:
        RunConflictError: the folder holds images of other numbers, or of another generator by its name.
        InputError: a generator of classes that was trained without "none".
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"generator": generator.name, "count": count, "steps": steps, "seed": rng.seed, "path": list(rng.path)}
    record, done = folder / "done.json", 0
    if record.is_file():
        held = json.loads(record.read_bytes())
        if held["plan"] != json.loads(canonical_json(plan)):
            raise RunConflictError(f"{folder} holds images of another generator or number; choose another folder")
        done = held["done"]
    height, width = generator.image_size
    size = count * 3 * height * width
    mapped = torch.from_file(str(folder / "images.bytes"), shared=True, size=size, dtype=torch.uint8)
    images, listener = mapped.view(count, 3, height, width), progress or Silent()
    listener.begin("synthetic images", count)
    listener.advance("synthetic images", done)
    while done < count:
        stop = min(done + _TOGETHER, count)
        made = generate(
            Sampler(generator, steps=steps),
            [_seed(rng, number) for number in range(done, stop)],
            condition=generator.null(stop - done),
            batch_size=_TOGETHER,
        )
        images[done:stop] = made.bytes()
        write_atomically(record, canonical_json({"plan": plan, "done": stop}))
        listener.advance("synthetic images", stop - done)
        done = stop
    listener.finish("synthetic images")
    return SyntheticImages(images, Sampled(generator.name, rng, count))


def _seed(rng: Randomness, number: int) -> int:
    return derive_seed(rng.seed, *rng.path, "synthetic", number) % 2**31
