"""Images at their own size, shifted: read, grouped by size, changed at every severity, rounded to bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.data.loading import prepared_batches
from snellen.errors import InputError, RejectedImageError
from snellen.images import ImageSet
from snellen.preparation import Preparation, to_unit
from snellen.randomness import Randomness
from snellen.writing.settings import Setting

#: Pixels (width × height) that are shifted in one pass, unless a single image has more.
PIXELS_PER_PASS = 4_000_000

#: Why an image was set aside that was readable.
NOT_FINITE = "shifted, it holds values that are not finite (NaN or infinity)"


@dataclass(frozen=True, eq=False)
class ShiftedBatch:
    """Some images of a set, all of one size, shifted at every severity.

    Attributes:
        indices: positions in the set.
        clean: uint8 (n, 3, h, w).
        shifted: uint8 (severities, n, 3, h, w).
        published: for each severity, whether this is exactly a published setting; None where the method does not tell.
        rejected: id and reason of images that are not here.
    """

    indices: list[int]
    clean: Tensor
    shifted: Tensor
    published: tuple[bool | None, ...]
    rejected: list[tuple[str, str]]

    @property
    def grey(self) -> list[bool]:
        """For each image, whether it is grey (three equal channels) at all severities."""
        return (self.shifted == self.shifted[:, :, :1]).flatten(2).all(2).all(0).tolist()


def shifted_batches(
    images: ImageSet,
    setting: Setting,
    severities: Sequence[float],
    rng: Randomness,
    *,
    batch_size: int,
    workers: int = 0,
) -> Iterator[ShiftedBatch]:
    """Read and shift a set.

    Images are not resized, and ids seed what is random, so that neither the batch nor the rest of the set changes a
    pixel.

    Raises:
        InputError: the method gives something else than images of the size that it got.
    """
    waiting: list[tuple[int, Tensor]] = []
    for loaded in prepared_batches(images, Preparation(), 1, workers=workers):
        if loaded.rejected:
            yield _nothing(loaded.rejected, len(severities))
            continue
        waiting.append((loaded.indices[0], loaded.pixels[0]))
        if len(waiting) == batch_size or sum(p.shape[1] * p.shape[2] for _, p in waiting) >= PIXELS_PER_PASS:
            yield from _by_size(images, waiting, setting, severities, rng)
            waiting = []
    yield from _by_size(images, waiting, setting, severities, rng)


def _by_size(
    images: ImageSet,
    waiting: Sequence[tuple[int, Tensor]],
    setting: Setting,
    severities: Sequence[float],
    rng: Randomness,
) -> Iterator[ShiftedBatch]:
    sizes: dict[tuple[int, int], list[tuple[int, Tensor]]] = {}
    for index, pixels in waiting:
        sizes.setdefault((pixels.shape[1], pixels.shape[2]), []).append((index, pixels))
    ids = images.ids if waiting else []
    for group in sizes.values():
        indices = [index for index, _ in group]
        yield from _shift(indices, torch.stack([p for _, p in group]), ids, setting, severities, rng)


def _shift(
    indices: list[int],
    clean: Tensor,
    ids: Sequence[str],
    setting: Setting,
    severities: Sequence[float],
    rng: Randomness,
) -> Iterator[ShiftedBatch]:
    names = [ids[index] for index in indices]
    try:
        shifted, finite = _at_all(to_unit(clean), names, setting, severities, rng)
    except RejectedImageError as error:
        if len(indices) > 1:  # find out which image it was
            for row, index in enumerate(indices):
                yield from _shift([index], clean[row : row + 1], ids, setting, severities, rng)
        else:
            yield _nothing([(names[0], str(error))], len(severities))
        return
    kept = finite.nonzero().flatten()
    yield ShiftedBatch(
        [indices[row] for row in kept.tolist()],
        clean[kept],
        shifted[:, kept],
        _published(setting, severities, to_unit(clean)),
        [(names[row], NOT_FINITE) for row in (~finite).nonzero().flatten().tolist()],
    )


@torch.no_grad()
def _at_all(
    images: Tensor, ids: Sequence[str], setting: Setting, severities: Sequence[float], rng: Randomness
) -> tuple[Tensor, Tensor]:
    """Images at all severities as bytes, and which images are finite at all of them."""
    bound = rng.for_examples(ids).remembering()
    results, finite = [], torch.ones(len(images), dtype=torch.bool)
    for severity in severities:
        changed = setting.shift.shift(images, severity, rng=bound)
        if changed.shape != images.shape or not changed.is_floating_point():
            raise InputError(
                f"{setting.method!r} made {changed.dtype} {tuple(changed.shape)} of images {tuple(images.shape)} in "
                f"[0, 1]; a shift keeps shape and range"
            )
        finite &= torch.isfinite(changed).flatten(1).all(1).cpu()
        results.append(changed.nan_to_num().clamp(0, 1).mul(255).round().to(torch.uint8).cpu())
    return torch.stack(results), finite


def _published(setting: Setting, severities: Sequence[float], images: Tensor) -> tuple[bool | None, ...]:
    strength = getattr(setting.method, "strength", None)
    if strength is None:
        return (None,) * len(severities)
    told = [getattr(strength(severity, images), "published", None) for severity in severities]
    return tuple(None if value is None else bool(value) for value in told)


def _nothing(rejected: list[tuple[str, str]], severities: int) -> ShiftedBatch:
    clean = torch.empty(0, 3, 0, 0, dtype=torch.uint8)
    return ShiftedBatch([], clean, clean[None].expand(severities, *clean.shape), (None,) * severities, rejected)
