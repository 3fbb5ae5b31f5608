"""What a visit does beyond the tree: play on by chance, and put back what was not needed. Both ask as they go.

Both are generators: they yield a changed image as instructions and are sent the answer. Many of them run at the same
time, and what they ask goes to the classifier in one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np

from snellen.systems.feature_guided_search.manipulation import Instructions


class Answer(NamedTuple):
    """What is known of an image.

    Attributes:
        met: the criterion is met, and the image is within reach.
        outside: too far from the clean image; the classifier was not queried.
        severity: distance from the clean image.
        confidence: probability of the label; NaN where it was not requested.
    """

    met: bool
    outside: bool
    severity: float
    confidence: float


Asking = Generator[Instructions, Answer, Instructions | None]

#: (instructions (h·w,), number of moves) → instructions after each of them; fewer when no pixel is left.
Moves = Callable[[Instructions, int], list[Instructions]]


def play_on(
    start: Instructions, moves: Moves, *, every_move: bool, most_moves: int, heard: list[Answer] | None = None
) -> Asking:
    """Play by chance from an image that is not adversarial; returns the first adversarial image found, or None.

    With ``every_move`` the image is scored after each move, as in the published search. Otherwise after 1, 2, 4, …
    further moves, and between the last two looks by halving: a path of k moves costs about 2 log2 k queries, and a
    class change that later moves undo may be missed.

    Args:
        start: where to go on.
        moves: draws moves.
        every_move: whether each move is scored.
        most_moves: where a path ends at the latest.
        heard: gets the answers about images that were scored, before a path of them is halved.
    """
    current, ahead, made = start, 1, 0
    while made < most_moves:
        path = moves(current, min(ahead, most_moves - made))
        if not path:
            return None
        answer = yield path[-1]
        while answer.outside and len(path) > 1:
            path = path[: len(path) // 2]
            ahead = 1
            answer = yield path[-1]
        if answer.outside:
            return None
        if heard is not None:
            heard.append(answer)
        if answer.met:
            return (yield from first_met(path))
        made, current = made + len(path), path[-1]
        ahead = 1 if every_move else ahead * 2
    return None


def first_met(path: list[Instructions]) -> Asking:
    """Halve between an image that is not adversarial, before the path, and its last one, which is."""
    low, high = -1, len(path) - 1
    while high - low > 1:
        middle = (low + high) // 2
        answer = yield path[middle]
        low, high = (low, middle) if answer.met else (middle, high)
    return path[high]


def put_back(met: Instructions, largest: int, rng: np.random.Generator) -> Asking:
    """Undo manipulations in clusters that halve down to single pixels, and keep an undo while the criterion is met.

    Every trial undoes one cluster of the image *as it is by then*.

    Args:
        met: an adversarial image.
        largest: pixels of the first clusters; 0 puts nothing back.
        rng: order of the pixels.
    """
    current = met.copy()
    size = min(largest, max(int(np.count_nonzero(met)) // 2, 1))
    while size:
        pixels = rng.permutation(np.flatnonzero(current))
        for first in range(0, len(pixels), size):
            trial = current.copy()
            trial[pixels[first : first + size]] = 0
            if not trial.any():
                continue
            answer = yield trial
            if answer.met:
                current = trial
        size //= 2
    return current
