"""Images at their own size, shifted: read, grouped by size, changed at every severity, rounded to bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from snellen.core.deep_picture import stack_pixels
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.randomness import Randomness
from snellen.data.loading import prepared_batches
from snellen.methods.edits.masked_object import EditedObjects, Fill
from snellen.runs.settings import Setting

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
        published: for each severity, whether this is exactly a published setting; None where the method does not say.
        rejected: id and reason of images that are not here.
        masks: where the objects are afterwards, bool (severities, n, h, w); None under a shift that knows no objects.
    """

    indices: list[int]
    clean: Tensor
    shifted: Tensor
    published: tuple[bool | None, ...]
    rejected: list[tuple[str, str]]
    masks: Tensor | None = None

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
    objects: EditedObjects | None = None,
) -> Iterator[ShiftedBatch]:
    """Read and shift a set.

    Images are not resized, and ids seed what is random, so that neither the batch nor the rest of the set changes a
    pixel; but for edits that put another image's background behind an object.

    Args:
        images: the set, or a part of it.
        setting: what is done.
        severities: in order.
        rng: of the run.
        batch_size: images in one pass.
        workers: threads that read ahead.
        objects: of the whole set, for a method that edits them.

    Raises:
        InputError: the method gives something else than images of the size that it got.
    """
    waiting: list[tuple[int, Tensor]] = []
    for loaded in prepared_batches(images, Preprocessing(), 1, workers=workers):
        if loaded.rejected:
            yield _nothing(loaded.rejected, len(severities))
            continue
        waiting.append((loaded.indices[0], loaded.pixels[0]))
        if len(waiting) == batch_size or sum(p.shape[1] * p.shape[2] for _, p in waiting) >= PIXELS_PER_PASS:
            yield from _by_size(images, waiting, setting, severities, rng, objects)
            waiting = []
    yield from _by_size(images, waiting, setting, severities, rng, objects)


def _by_size(
    images: ImageSet,
    waiting: Sequence[tuple[int, Tensor]],
    setting: Setting,
    severities: Sequence[float],
    rng: Randomness,
    objects: EditedObjects | None,
) -> Iterator[ShiftedBatch]:
    sizes: dict[tuple[int, int], list[tuple[int, Tensor]]] = {}
    for index, pixels in waiting:
        sizes.setdefault((pixels.shape[1], pixels.shape[2]), []).append((index, pixels))
    ids = images.ids if waiting else []
    for group in sizes.values():
        indices, pixels = [index for index, _ in group], stack_pixels([p for _, p in group])
        if setting.edits:
            assert objects is not None, "an edit of objects must say where they are"
            yield _edit(indices, pixels, ids, setting, severities, rng, objects)
        else:
            yield from _shift(indices, pixels, ids, setting, severities, rng)


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
        _rounded(clean[kept]),
        shifted[:, kept],
        _published(setting, severities, to_unit(clean)),
        [(names[row], NOT_FINITE) for row in (~finite).nonzero().flatten().tolist()],
    )


def _edit(
    indices: list[int],
    clean: Tensor,
    ids: Sequence[str],
    setting: Setting,
    severities: Sequence[float],
    rng: Randomness,
    objects: EditedObjects,
) -> ShiftedBatch:
    """Images whose objects are known, edited at all severities; the others are set aside by name."""
    rejected: list[tuple[str, str]] = []
    rows: list[int] = []
    masks: list[Tensor] = []
    lent: list[Tensor] = []
    for row, index in enumerate(indices):
        try:
            masks.append(objects.mask(ids[index], clean[row]))
            if setting.borrows:
                fill, ring = setting.removal
                lent.append(objects.lent(ids[index], clean.shape[2], clean.shape[3], cast(Fill, fill), ring))
            rows.append(row)
        except RejectedImageError as error:
            rejected.append((ids[index], str(error)))
            del masks[len(rows) :]
    if not rows:
        return _nothing(rejected, len(severities))
    names, images = [ids[indices[row]] for row in rows], to_unit(clean[rows])
    bound, behind = rng.for_examples(names).remembering(), torch.stack(lent) if lent else None
    made = [
        setting.editing.edit(images, torch.stack(masks), severity, rng=bound, backgrounds=behind)
        for severity in severities
    ]
    kept = []
    for row, key in enumerate(names):
        problems = [one.status[row] for one in made if one.status[row] != "ok"]
        problems += [NOT_FINITE for one in made if not bool(torch.isfinite(one.images[row]).all())]
        if problems:
            rejected.append((key, problems[0]))
        else:
            kept.append(row)
    if not kept:
        return _nothing(rejected, len(severities))
    bytes_of = torch.stack([_bytes(one.images[kept], images[kept], setting) for one in made])
    where = torch.stack([one.masks[kept].cpu() for one in made])
    unknown = (None,) * len(severities)
    return ShiftedBatch(
        [indices[rows[r]] for r in kept], _rounded(clean[rows][kept]), bytes_of, unknown, rejected, where
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
        results.append(_bytes(changed, images, setting))
        finite &= torch.isfinite(changed).flatten(1).all(1).cpu()
    return torch.stack(results), finite


def _bytes(changed: Tensor, images: Tensor, setting: Setting) -> Tensor:
    """What a method made of images, uint8 on the CPU.

    Raises:
        InputError: it is no images of their size.
    """
    if changed.shape != images.shape or not changed.is_floating_point():
        raise InputError(
            f"{setting.method!r} made {changed.dtype} {tuple(changed.shape)} of images {tuple(images.shape)} in "
            f"[0, 1]; a shift keeps shape and range"
        )
    return _rounded(changed.nan_to_num().clamp(0, 1)).cpu()


def _rounded(images: Tensor) -> Tensor:
    """Prepared images as they are written: uint8."""
    return images if images.dtype == torch.uint8 else images.mul(255).round().to(torch.uint8)


def _published(setting: Setting, severities: Sequence[float], images: Tensor) -> tuple[bool | None, ...]:
    strength = getattr(setting.method, "strength", None)
    if strength is None:
        return (None,) * len(severities)
    published = [getattr(strength(severity, images), "published", None) for severity in severities]
    return tuple(None if value is None else bool(value) for value in published)


def _nothing(rejected: list[tuple[str, str]], severities: int) -> ShiftedBatch:
    clean = torch.empty(0, 3, 0, 0, dtype=torch.uint8)
    return ShiftedBatch([], clean, clean[None].expand(severities, *clean.shape), (None,) * severities, rejected)
