"""The queue of keys: the last projected instances, with the scores that came with them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Entries(NamedTuple):
    """What the queue holds, row by row of one instance: keys (m, p), scores (m, 2) masked by its candidate set."""

    keys: Tensor
    scores: Tensor


class KeyQueue(nn.Module):
    """A ring of fixed length; it starts empty, and only what was put into it is ever compared with.

    >>> queue = KeyQueue(length=3, dim=1)
    >>> for start in (0, 2):
    ...     keys = torch.tensor([[float(start)], [start + 1.0]])
    ...     queue.push(Entries(keys, torch.zeros(2, 2)))
    >>> queue.entries().keys.flatten().tolist()
    [3.0, 1.0, 2.0]

    Args:
        length: K, the most entries that are held.
        dim: length p of a key.
    """

    keys: Tensor
    scores: Tensor
    pushed: Tensor

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(length, dim))
        self.register_buffer("scores", torch.zeros(length, 2))
        #: Entries that were ever put in; the next one goes to this place, modulo the length.
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))

    def entries(self) -> Entries:
        """What is held now."""
        held = min(int(self.pushed), len(self.keys))
        return Entries(self.keys[:held].clone(), self.scores[:held].clone())

    @torch.no_grad()
    def push(self, entries: Entries) -> None:
        """Put entries in, over the oldest; of more than the queue is long, the last."""
        length, count = len(self.keys), len(entries.keys)
        kept = slice(max(0, count - length), None)
        places = ((self.pushed + torch.arange(count, device=self.keys.device)) % length)[kept]
        for held, given in zip((self.keys, self.scores), entries, strict=True):
            held[places] = given[kept].to(held.dtype)
        self.pushed += count
