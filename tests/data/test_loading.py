"""Batches: the same whatever the number of threads, and no image moves another one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.data.loading import PreparedBatch, prepared_batches

SQUARE = Preprocessing(size=(4, 4), resize="exact", resize_to=(4, 4))


class Source:
    """Images of given sizes; None is rejected. Counts what is read, and by how many threads at most at once."""

    def __init__(self, sizes: Sequence[tuple[int, int] | None]) -> None:
        self.sizes, self.reads = sizes, list[int]()
        self.threads = set[int]()

    def read(self, index: int) -> Image.Image:
        self.reads.append(index)
        self.threads.add(threading.get_ident())
        size = self.sizes[index]
        if size is None:
            raise RejectedImageError(f"broken {index}")
        return Image.new("RGB", size, (index % 256,) * 3)

    def content_hash(self, index: int) -> str:
        return str(index)


def image_set(sizes: Sequence[tuple[int, int] | None]) -> tuple[ImageSet, Source]:
    source = Source(sizes)
    return ImageSet(source, pa.table({"id": [f"i{index}" for index in range(len(sizes))]})), source


def plain(batches: Sequence[PreparedBatch]) -> list[tuple[object, ...]]:
    return [(b.ids, b.indices, b.rejected, tuple(b.pixels.shape), b.pixels.flatten().tolist()) for b in batches]


@pytest.mark.smoke
@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([(5, 5), (6, 3), None]), max_size=20),
    st.integers(1, 7),
    st.integers(1, 4),
    st.booleans(),
)
def test_threads_change_nothing(
    sizes: list[tuple[int, int] | None], batch_size: int, workers: int, fixed: bool
) -> None:
    images, _ = image_set(sizes)
    preparation = SQUARE if fixed else Preprocessing()
    inline = plain(list(prepared_batches(images, preparation, batch_size)))
    assert plain(list(prepared_batches(images, preparation, batch_size, workers=workers))) == inline
    assert len(inline) == -(-len(sizes) // batch_size)
    for number, (ids, indices, rejected, shape, _) in enumerate(inline):
        members = range(number * batch_size, min((number + 1) * batch_size, len(sizes)))
        told = {f"i{index}" for index in members}
        assert {*ids, *(key for key, _ in rejected)} == told  # type: ignore[misc]
        assert [f"i{index}" for index in indices] == ids  # type: ignore[attr-defined]
        assert shape[0] == len(ids)  # type: ignore[index, arg-type]


@pytest.mark.smoke
def test_a_rejected_image_leaves_a_gap() -> None:
    images, _ = image_set([(4, 4), None, (4, 4), (4, 4), (4, 4)])
    first, second, third = prepared_batches(images, SQUARE, 2)
    assert (first.ids, first.indices, first.rejected) == (["i0"], [0], [("i1", "broken 1")])
    assert (second.ids, second.indices, second.rejected) == (["i2", "i3"], [2, 3], [])
    assert third.indices == [4]
    assert first.pixels.dtype == torch.uint8
    assert second.pixels[:, 0, 0, 0].tolist() == [2, 3]


def test_a_batch_of_rejected_images_is_empty_but_there() -> None:
    images, _ = image_set([None, None, (4, 4)])
    first, second = prepared_batches(images, SQUARE, 2)
    assert (first.ids, tuple(first.pixels.shape)) == ([], (0, 3, 4, 4))
    assert [key for key, _ in first.rejected] == ["i0", "i1"]
    assert second.ids == ["i2"]


def test_odd_sizes_are_rejected_with_both_sizes_and_the_remedy() -> None:
    images, _ = image_set([(5, 4), (8, 6), (8, 6), (3, 3)])
    (batch,) = prepared_batches(images, Preprocessing(), 4)
    assert batch.ids == ["i1", "i2"]
    assert tuple(batch.pixels.shape) == (2, 3, 6, 8)
    reasons = dict(batch.rejected)
    assert set(reasons) == {"i0", "i3"}
    assert reasons["i0"].startswith("prepared size 5×4 differs from 8×6, the size of its batch; give the model")


def test_among_equally_frequent_sizes_the_first_counts() -> None:
    images, _ = image_set([(5, 5), (6, 6), (6, 6), (5, 5)])
    (batch,) = prepared_batches(images, Preprocessing(), 4)
    assert batch.ids == ["i0", "i3"]


def test_reading_ahead_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Counting(ThreadPoolExecutor):
        def submit(self, *arguments: object, **more: object) -> Future[object]:  # type: ignore[override]
            asked.append(1)
            return super().submit(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("snellen.data.loading.ThreadPoolExecutor", Counting)
    images, source = image_set([(4, 4)] * 200)
    batches = prepared_batches(images, SQUARE, 8, workers=2)
    assert asked == []
    next(batches)
    assert len(asked) == 8 + 8  # one batch given, one ahead
    next(batches)
    assert len(asked) == 8 + 8 + 8
    batches.close()  # type: ignore[attr-defined]
    assert len(source.reads) <= 24
    assert threading.main_thread().ident not in source.threads


def test_inline_reads_in_order_and_only_when_requested() -> None:
    images, source = image_set([(4, 4)] * 10)
    batches = prepared_batches(images, SQUARE, 3)
    assert source.reads == []
    next(batches)
    assert source.reads == [0, 1, 2]


def test_mistakes_in_the_code_are_not_taken_for_bad_images() -> None:
    class Faulty(Source):
        def read(self, index: int) -> Image.Image:
            raise KeyError(index)

    images = ImageSet(Faulty([(4, 4)]), pa.table({"id": ["a"]}))
    for workers in (0, 2):
        with pytest.raises(KeyError):
            list(prepared_batches(images, SQUARE, 1, workers=workers))


@pytest.mark.parametrize(("batch_size", "workers"), [(0, 0), (1, -1)])
def test_impossible_numbers_are_reported_at_once(batch_size: int, workers: int) -> None:
    images, _ = image_set([(4, 4)])
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        prepared_batches(images, SQUARE, batch_size, workers=workers)


def test_pixels_are_those_of_the_preparation() -> None:
    images, _ = image_set([(9, 7)])
    preparation = Preprocessing(size=(4, 6), resize="shorter", resize_to=(6, 6))
    (batch,) = prepared_batches(images, preparation, 1, workers=1)
    assert torch.equal(batch.pixels[0], preparation.pixels(Image.fromarray(np.zeros((7, 9, 3), np.uint8))))
