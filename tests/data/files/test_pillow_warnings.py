"""Filters for Pillow's warnings: in while somebody decodes, out afterwards, whatever other threads do."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL.Image import DecompressionBombWarning

from snellen.data.files.decoding import pillow_warnings_contained


def warn_as(module: str, category: type[Warning] = UserWarning) -> None:
    warnings.warn_explicit("odd", category, "file.py", 1, module=module)


@pytest.fixture(autouse=True)
def _filters_stay() -> Iterator[None]:
    before = list(warnings.filters)
    yield
    assert list(warnings.filters) == before


def test_only_pillow_is_silenced() -> None:
    with pillow_warnings_contained():
        warn_as("PIL.TiffImagePlugin")
        warn_as("PIL")
        with pytest.raises(UserWarning, match="odd"):
            warn_as("PILlow.other")
        with pytest.raises(UserWarning, match="odd"):
            warn_as("torch")
    with pytest.raises(UserWarning, match="odd"):
        warn_as("PIL.TiffImagePlugin")


def test_bombs_are_raised_even_where_warnings_are_ignored() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pillow_warnings_contained(), pytest.raises(DecompressionBombWarning):
            warn_as("PIL.Image", DecompressionBombWarning)


def test_overlapping_threads_share_the_filters() -> None:
    both, leave = threading.Barrier(2, timeout=600), threading.Event()

    def first() -> None:
        with pillow_warnings_contained():
            both.wait()
        leave.set()

    def second() -> None:
        with pillow_warnings_contained():
            both.wait()
            assert leave.wait(30)
            warn_as("PIL.Image")  # the first has left: still silent

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(first), pool.submit(second)]:
            future.result(timeout=600)


def test_filters_go_even_if_another_thread_swapped_the_list_meanwhile() -> None:
    context = pillow_warnings_contained()
    context.__enter__()
    other = warnings.catch_warnings()
    other.__enter__()
    context.__exit__(None, None, None)
    with pytest.raises(UserWarning, match="odd"):
        warn_as("PIL.Image")
    other.__exit__(None, None, None)
    with pytest.raises(UserWarning, match="odd"):
        warn_as("PIL.Image")


def test_filters_go_after_an_error() -> None:
    with pytest.raises(KeyError), pillow_warnings_contained():
        raise KeyError
