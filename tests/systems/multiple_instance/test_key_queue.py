"""The queue of keys: what comes out is what was put in last, whatever the sizes of batches."""

from __future__ import annotations

import pytest
import torch

from snellen.systems.multiple_instance.key_queue import Entries, KeyQueue


def numbered(first: int, count: int) -> Entries:
    """Entries whose key and scores tell the same number."""
    numbers = torch.arange(first, first + count).float()
    return Entries(numbers[:, None], torch.stack([numbers, -numbers], 1))


@pytest.mark.covers("36.5")
@pytest.mark.parametrize("sizes", [[4, 4, 4], [3, 3, 3, 3, 3], [1, 5, 2, 10, 3], [25], [10, 10], [7, 20, 1]])
def test_the_last_entries_are_held_together(sizes: list[int]) -> None:
    queue, put = KeyQueue(length=10, dim=1), 0
    for size in sizes:
        queue.push(numbered(put, size))
        put += size
        held = queue.entries()
        assert sorted(held.keys[:, 0].tolist()) == list(range(max(0, put - 10), put))
        again = [numbered(int(number), 1) for number in held.keys[:, 0]]
        torch.testing.assert_close(held.scores, torch.cat([one.scores for one in again]))


@pytest.mark.covers("36.5")
def test_a_queue_goes_on_from_its_state() -> None:
    queue = KeyQueue(length=10, dim=1)
    queue.push(numbered(0, 13))
    other = KeyQueue(length=10, dim=1)
    other.load_state_dict(queue.state_dict())
    for one in (queue, other):
        one.push(numbered(13, 4))
    for mine, theirs in zip(queue.entries(), other.entries(), strict=True):
        assert torch.equal(mine, theirs)


def test_what_came_out_does_not_change() -> None:
    queue = KeyQueue(length=4, dim=1)
    queue.push(numbered(0, 4))
    held = queue.entries()
    queue.push(numbered(4, 4))
    assert held.keys[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0]
