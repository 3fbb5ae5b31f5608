"""Batches of prepared images, read ahead by threads, the same for any number of threads."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from snellen.core.deep_picture import stack_pixels
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class PreparedBatch:
    """The usable images of one stretch of an image set, and why the others are not.

    Attributes:
        ids: ids of the usable images, in order.
        indices: their positions in the image set.
        pixels: uint8 (n, 3, h, w), or float32 in [0, 1] where an image has 16 bits; n is 0 when every image was
            rejected.
        rejected: id and reason of each image that is not in ``pixels``.
    """

    ids: list[str]
    indices: list[int]
    pixels: Tensor
    rejected: list[tuple[str, str]]


def prepared_batches(
    images: ImageSet, preparation: Preprocessing, batch_size: int, *, workers: int = 0
) -> Iterator[PreparedBatch]:
    """Read and prepare images in batches.

    The n-th batch is images n · batch_size … (n + 1) · batch_size − 1 of the set: a rejected image leaves a gap and
    moves no other image. If the preparation gives images of different sizes, those that differ from the most frequent
    size of their batch (the first such, if there are several) are rejected.

    >>> import numpy as np
    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(np.zeros((5, 8, 8), dtype=np.uint8))
    >>> [batch.indices for batch in prepared_batches(images, Preprocessing(size=(4, 4)), 2)]
    [[0, 1], [2, 3], [4]]

    Args:
        images: the set.
        preparation: of the model; see :attr:`snellen.core.classifier.Classifier.preparation`.
        batch_size: images in each batch, rejected ones included.
        workers: threads that read ahead, at most a batch or twice their own number of images; 0: load in the calling
            thread.

    Raises:
        InputError: batch_size below 1, or workers below 0.
    """
    check_batches(batch_size, workers)
    return _batches(images, preparation, batch_size, workers)


def check_batches(batch_size: int, workers: int = 0) -> None:
    """Refuse batches that hold nothing, and fewer than no threads.

    Raises:
        InputError: batch_size below 1, or workers below 0.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(f"batch_size must be at least 1 and workers at least 0, got {batch_size} and {workers}")


def prepared_batch(images: ImageSet, rows: range, preparation: Preprocessing, *, workers: int = 0) -> PreparedBatch:
    """Read and prepare the images at some positions as one batch, whose indices are positions in the whole set."""
    batch = next(prepared_batches(images.select(list(rows)), preparation, len(rows), workers=workers))
    return replace(batch, indices=[rows[at] for at in batch.indices])


Prepared = Tensor | str  # pixels, or the reason why there are none


def _batches(images: ImageSet, preparation: Preprocessing, batch_size: int, workers: int) -> Iterator[PreparedBatch]:
    ids = images.ids
    with closing(_prepared(images, preparation, batch_size, workers)) as prepared:
        for start in range(0, len(ids), batch_size):
            part = list(islice(prepared, batch_size))
            yield _batch(ids[start : start + batch_size], start, part, preparation)


def _prepared(
    images: ImageSet, preparation: Preprocessing, batch_size: int, workers: int
) -> Generator[Prepared, None, None]:
    """Every image in order, or the reason why it is not there."""
    if workers == 0:
        yield from (_prepare(images, preparation, index) for index in range(len(images)))
        return
    waiting: deque[Future[Prepared]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="snellen-reading") as pool:
        try:
            for index in range(len(images)):
                waiting.append(pool.submit(_prepare, images, preparation, index))
                if len(waiting) > max(batch_size, 2 * workers):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _prepare(images: ImageSet, preparation: Preprocessing, index: int) -> Prepared:
    try:
        return preparation.pixels(images.read(index))
    except RejectedImageError as error:
        return str(error)


def _batch(ids: Sequence[str], start: int, prepared: Sequence[Prepared], preparation: Preprocessing) -> PreparedBatch:
    sizes = Counter((item.shape[1], item.shape[2]) for item in prepared if isinstance(item, Tensor))
    height, width = max(sizes, key=sizes.__getitem__) if sizes else (preparation.size or (0, 0))
    batch = PreparedBatch([], [], torch.empty(0, 3, height, width, dtype=torch.uint8), [])
    usable: list[Tensor] = []
    for position, (example_id, item) in enumerate(zip(ids, prepared, strict=True)):
        if isinstance(item, str):
            batch.rejected.append((example_id, item))
        elif tuple(item.shape[1:]) != (height, width):
            reason = (
                f"prepared size {item.shape[2]}×{item.shape[1]} differs from {width}×{height}, the size of its batch; "
                f"give the model a preparation with a fixed size, or resize the images"
            )
            batch.rejected.append((example_id, reason))
        else:
            usable.append(item)
            batch.ids.append(example_id)
            batch.indices.append(start + position)
    return replace(batch, pixels=stack_pixels(usable)) if usable else batch
