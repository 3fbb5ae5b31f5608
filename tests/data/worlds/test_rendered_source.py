import threading

import numpy as np
import pytest

from snellen.core.errors import RejectedImageError
from snellen.data.worlds.rendered_source import RenderedSource


class Counting:
    def __init__(self):
        self.calls = []

    def __call__(self, rows):
        self.calls.append(list(rows))
        return np.stack([np.full((3, 4, 3), row, np.uint8) for row in rows])


def test_neighbours_are_rendered_together_and_once():
    render = Counting()
    source = RenderedSource(10, render, str, chunk=4)
    assert [source.read(index).getpixel((0, 0))[0] for index in range(10)] == list(range(10))
    assert render.calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert source.read(0).size == (4, 3)


def test_only_a_few_chunks_are_kept_the_latest_used():
    render = Counting()
    source = RenderedSource(12, render, str, chunk=4, chunks_kept=2)
    for index in (0, 4, 1, 8, 2, 5):
        source.read(index)
    assert [call[0] for call in render.calls] == [0, 4, 8, 4]


def test_rows_out_of_order_are_rendered_alone():
    render = Counting()
    source = RenderedSource(100, render, str, chunk=50)
    order = (70, 3, 44, 90, 20)
    assert [source.read(index).getpixel((0, 0))[0] for index in order] == list(order)
    assert render.calls == [[row] for row in order]
    render.calls.clear()
    assert [source.read(index).getpixel((0, 0))[0] for index in (60, 61, 62)] == [60, 61, 62]
    assert [len(call) for call in render.calls] == [1, 50]


def test_several_threads_share_the_work():
    render = Counting()
    source = RenderedSource(64, render, str, chunk=8, chunks_kept=8)
    found = {}
    threads = [
        threading.Thread(target=lambda part=part: found.update({i: source.read(i).getpixel((0, 0))[0] for i in part}))
        for part in (range(0, 64, 2), range(1, 64, 2), range(64))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: index for index in range(64)}
    assert 0 < sum(len(call) == 8 for call in render.calls) <= 8  # which are read in order is up to the threads


def test_masks_are_there_or_missed_by_name():
    def masks(rows):
        return np.stack([np.full((2, 2), 10 * row, np.uint8) for row in rows])

    assert RenderedSource(3, Counting(), str, masks=masks).read_mask(2, "m.png").getpixel((0, 0)) == 20
    with pytest.raises(RejectedImageError, match=r"row 2 has no mask m\.png"):
        RenderedSource(3, Counting(), str).read_mask(2, "m.png")


def test_the_content_is_the_recipe():
    first, other = (RenderedSource(1, Counting(), lambda row, word=word: f"{word} {row}") for word in ("a", "b"))
    assert first.content_hash(0) != other.content_hash(0)
    assert first.content_hash(0) == RenderedSource(1, Counting(), lambda row: f"a {row}").content_hash(0)
