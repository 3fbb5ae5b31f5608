"""Apply a kind of corruption of a benchmark to prepared images, also as a training transform of random strength.

Di Salvo, Doerrich and Ledig, "MedMNIST-C", arXiv 2406.17536: each image gets one of the K kinds or stays as it is, each
with probability 1 / (K + 1); each parameter is uniform between its values at severities 1 and 5 (parameters of one kind
independently), integers are cut, kernels to odd ones.

The published code draws salt and pepper from a fixed seed, so that the same pixels are hit at every call; here every
call draws anew. It also returns the identity as another type of image; here the type is always the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.in_float64 import lacks_float64
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.benchmarks import OWN, Benchmark
from snellen.methods.corruptions.colour import PILLOW_LUMA
from snellen.methods.corruptions.operators import Operator
from snellen.training.transforms import BatchTransform

#: Added before values are cut to bytes, so that a byte that was divided by 255 in float32 stays that byte.
CUT = 1e-4

#: Every so many rows and columns are searched first for colour.
_SOME = 8


def corrupt(
    images: Tensor,
    benchmark: Benchmark,
    kind: str,
    severity: float,
    rng: Randomness,
    *,
    strict: bool = False,
    parity: bool = False,
    textures: Sequence[Tensor] | None = None,
) -> Tensor:
    """Corrupt images.

    An example's randomness is the same draw at every severity: a curve over severities compares strengths, not draws.

    A grey image (three equal channels) stays grey: noise is drawn once for all its channels, as a grey sensor has one
    noise, and colour that a kind brings along is turned to its luminance. Under a benchmark of grey images (the X-ray,
    CT, ultrasound and OCT sets of MedMNIST-C) the published way is taken: corrupted as an RGB image, each channel with
    its own noise, then turned to luminance, which averages noise to 0.67 of its deviation. Our own strengths for these
    modalities do the same to grey images, and leave the others their colours.

    Args:
        images: (n, 3, h, w) in [0, 1].
        benchmark: whose tables are used.
        kind: one of the benchmark's kinds.
        severity: in [0, 5]; 0 returns the images themselves.
        rng: bound to the n examples.
        strict: see :func:`snellen.methods.corruptions.operators.strength`.
        parity: as published to the last step: values cut to bytes, grey images treated as coloured ones, and faults of
            the published code repeated (glass blur copies neighbours instead of swapping with them; frost
            draws five of its six photographs).
        textures: (3, h, w) in [0, 1], used by frost and stains instead of our own.

    Raises:
        InputError: the severity is out of range.
        UnknownNameError: the benchmark has no such kind.
    """
    found = benchmark.strength(kind, severity, images.shape[2], images.shape[3], strict=strict)
    if severity == 0:
        return images
    if lacks_float64(images.device):  # several kinds need it
        again = corrupt(images.cpu(), benchmark, kind, severity, rng, strict=strict, parity=parity, textures=textures)
        return again.to(images.device)
    operator = benchmark.operator(kind)
    extra: dict[str, object] = {"textures": textures} if operator.textures and textures else {}
    if operator.mended:
        extra["parity"] = parity
    bound = rng.bind(len(images)).child(kind)

    def change(part: Tensor, its_rng: Randomness) -> Tensor:
        changed = operator.function(part, its_rng, **found.values, **extra)
        return torch.lerp(part, changed, found.mixture) if found.mixture < 1 else changed

    if parity or benchmark.rgb is False or not operator.channelwise:
        return settle_channels(change(images, bound), images, benchmark, operator, parity=parity)
    was_grey = is_grey(images)
    grey, coloured = was_grey.nonzero().flatten(), (~was_grey).nonzero().flatten()
    if not len(grey):
        return change(images, bound)
    if not len(coloured):
        return change(images[:, :1], bound).expand_as(images).contiguous()
    changed = torch.empty_like(images)
    changed[coloured] = change(images[coloured], bound[coloured])
    changed[grey] = change(images[grey, :1], bound[grey]).expand(-1, 3, -1, -1)
    return changed


def settle_channels(
    changed: Tensor, images: Tensor, benchmark: Benchmark, operator: Operator, *, parity: bool = False
) -> Tensor:
    """What every corruption ends with: grey images made grey again, values cut to bytes with ``parity``.

    See :func:`corrupt`. ``changed`` is what the operator made of ``images``, both (n, 3, h, w).
    """
    if benchmark.rgb is False:
        grey = luminance(changed, parity=parity)
        # Published sets are grey. Images of one's own may have colours, whose loss is no part of a blur.
        changed = stay_grey(changed, images, grey) if benchmark.name in OWN else grey
    elif not parity:
        changed = stay_grey(changed, images, changed[:, :1] if operator.noise else luminance(changed))
    return torch.floor(changed * 255 + CUT) / 255 if parity else changed


def is_grey(images: Tensor) -> Tensor:
    """Whether the three channels of each image are equal: (n, 3, h, w) → bool (n,)."""
    # A coloured photo shows it in a few pixels: the others are compared only where these are grey.
    some = images[:, :, ::_SOME, ::_SOME]
    grey = (some[:, 1:] == some[:, :1]).flatten(1).all(1)
    rows = grey.nonzero().flatten()
    if len(rows):
        whole = images if len(rows) == len(images) else images[rows]
        grey[rows] = (whole[:, 1:] == whole[:, :1]).flatten(1).all(1)
    return grey


def stay_grey(changed: Tensor, images: Tensor, grey: Tensor) -> Tensor:
    """Replace changed images by their grey version where the image was grey: (n, 3, h, w), same, (n, 1 or 3, h, w)."""
    was_grey = is_grey(images)
    if not bool(was_grey.any()):
        return changed
    return torch.where(was_grey.view(-1, 1, 1, 1), grey, changed)


def luminance(images: Tensor, *, parity: bool = False) -> Tensor:
    """Grey version with three equal channels: (n, 3, h, w) → (n, 3, h, w).

    ``parity``: of values cut to bytes, as Pillow converts them.
    """
    weights = torch.tensor(PILLOW_LUMA, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    if parity:
        # Whole numbers below 2 ** 24 throughout: exact in float32.
        weighted = (torch.floor(images * 255 + CUT) * weights).sum(1, keepdim=True)
        grey = torch.floor((weighted + 32768) / 65536) / 255
    else:
        grey = (images * (weights / 65536)).sum(1, keepdim=True).clamp(0, 1)
    return grey.expand_as(images)


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
        return corrupt_by_kind(images, benchmark, names, drawn, rng), targets

    return augment


def corrupt_by_kind(
    images: Tensor, benchmark: Benchmark, kinds: Sequence[str], drawn: Tensor, rng: Randomness
) -> Tensor:
    """Corrupt each image by a kind of its own, at a strength of its own: (n, 3, h, w) in [0, 1] → same shape.

    Args:
        images: to corrupt; they stay as they are.
        benchmark: whose strengths.
        kinds: some of its kinds.
        drawn: number of the kind of each image, integers (n,); an image whose number is none of theirs is left.
        rng: one for each image.
    """

    def at_random(part: Tensor, number: int, rng: Randomness) -> Tensor:
        return corrupt_at_random(part, benchmark, kinds[number], rng.child(kinds[number]))

    return changed_by_number(images, drawn, len(kinds), at_random, rng)


def changed_by_number(
    images: Tensor, drawn: Tensor, count: int, change: Callable[[Tensor, int, Randomness], Tensor], rng: Randomness
) -> Tensor:
    """Change each image in a way of its own, all images of one way at once: (n, 3, h, w) → same shape.

    Args:
        images: to change; they stay as they are.
        drawn: number of the way of each image, integers (n,); an image whose number is none of ``count`` is left.
        count: ways.
        change: some images, the number of a way, and one source of randomness for each → these images, changed.
        rng: one for each image.
    """
    changed = images.clone()
    for number in range(count):
        rows = (drawn == number).nonzero().flatten()
        if len(rows):
            at = rows.to(images.device)
            changed[at] = change(images[at], number, rng[rows])
    return changed


def corrupt_at_random(images: Tensor, benchmark: Benchmark, kind: str, rng: Randomness) -> Tensor:
    """Corrupt each image by one kind at a strength of its own: (n, 3, h, w) in [0, 1] → same shape.

    Lengths are scaled to the images as :meth:`Benchmark.strength` scales them.
    """
    if lacks_float64(images.device):  # as above
        return corrupt_at_random(images.cpu(), benchmark, kind, rng).to(images.device)
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
        values[name] = value * table.scale(side) if parameter.pixels else value
    return values
