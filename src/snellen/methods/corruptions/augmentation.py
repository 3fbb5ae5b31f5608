"""Corruptions as a training transform: one of a benchmark's kinds, or none, at a random strength.

Di Salvo, Doerrich and Ledig, "MedMNIST-C", arXiv 2406.17536: each image gets one of the K kinds or stays as it is, each
with probability 1 / (K + 1); each parameter is uniform between its values at severities 1 and 5 (parameters of one kind
independently), integers are cut, kernels to odd ones.

The published code draws salt and pepper from a fixed seed, so that the same pixels are hit at every call; here every
call draws anew. It also returns the identity as another type of image; here the type is always the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import settle_channels
from snellen.methods.corruptions.benchmarks import Benchmark
from snellen.training.transforms import BatchTransform


def targeted_augmentation(benchmark: Benchmark, kinds: Sequence[str] | None = None) -> BatchTransform:
    """A transform of training batches.

    To measure without leakage, leave a family out of training and test on it: ``benchmark.without_family(name)``.

    Args:
        benchmark: whose kinds and strengths.
        kinds: some of its kinds; None: those that its figures are means of.

    Raises:
        InputError: no kind is left.
        UnknownNameError: the benchmark has no such kind.
    """
    names = tuple(kinds) if kinds is not None else benchmark.main
    if not names:
        raise InputError("an augmentation needs at least one kind of corruption")
    for kind in names:
        benchmark.operator(kind)

    def augment(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        drawn = rng.integers("kind", (), 0, len(names) + 1)  # the last one is the identity
        changed = images.clone()
        for number, kind in enumerate(names):
            rows = (drawn == number).nonzero().flatten()
            if len(rows):
                at = rows.to(images.device)
                changed[at] = corrupt_at_random(images[at], benchmark, kind, rng[rows].child(kind))
        return changed, targets

    return augment


def corrupt_at_random(images: Tensor, benchmark: Benchmark, kind: str, rng: Randomness) -> Tensor:
    """Corrupt each image by one kind at a strength of its own: (n, 3, h, w) in [0, 1] → same shape.

    Lengths are scaled to the images as :meth:`Benchmark.strength` scales them.
    """
    operator, values = benchmark.operator(kind), draw_parameters(images, benchmark, kind, rng)
    if operator.batched:
        spread = {name: value.to(images).view(-1, 1, 1, 1) for name, value in values.items()}
        changed = operator.function(images, rng, **spread)
    else:
        changed = torch.cat(
            [
                operator.function(
                    images[row : row + 1], rng[[row]], **{name: float(value[row]) for name, value in values.items()}
                )
                for row in range(len(images))
            ]
        )
    return settle_channels(changed, images, benchmark, operator)


def draw_parameters(images: Tensor, benchmark: Benchmark, kind: str, rng: Randomness) -> dict[str, Tensor]:
    """Parameters of one kind for each image, by name: float64 (n,), on the CPU."""
    side = min(images.shape[2:])
    operator, table = benchmark.operator(kind), benchmark.table(kind, side)
    shares = rng.uniform("parameters", (len(table.columns),)).double()
    values = {}
    for position, (name, column) in enumerate(table.columns.items()):
        first = table.augmentation_start.get(name, column[0])
        last = table.augmentation_end.get(name, column[-1])
        value = first + (last - first) * shares[:, position]
        parameter = operator.parameters[name]
        if parameter.whole or parameter.odd:
            value = value.trunc()
        if parameter.odd:
            value = value - (value + 1) % 2
        values[name] = value * (side / table.side) if parameter.pixels else value
    return values
