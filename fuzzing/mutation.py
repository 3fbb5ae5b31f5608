"""Mutations of valid files, from a seed: what runs where atheris is not installed, and in the tests."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from itertools import count

from fuzzing.targets import Target

#: Numbers at which arithmetic goes wrong, in the sizes in which files hold them.
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)

LARGEST = 200_000


def mutations(seeds: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Endless changed copies of the seeds, then of changed copies; the seeds themselves first."""
    rng = random.Random(seed)
    pool = list(seeds)
    yield from pool
    for _ in count():
        changed = bytearray(rng.choice(pool))
        for _ in range(1 << rng.randrange(5)):
            changed = _changed(changed, pool, rng)
        content = bytes(changed[:LARGEST])
        if rng.random() < 0.02:
            pool.append(content)
            if len(pool) > 20 * len(seeds):
                del pool[rng.randrange(len(seeds), len(pool))]
        yield content


def _changed(content: bytearray, pool: Sequence[bytes], rng: random.Random) -> bytearray:
    place = rng.randrange(len(content) + 1)
    match rng.randrange(8):
        case 0 if content:
            content[place % len(content)] ^= 1 << rng.randrange(8)
        case 1 if content:
            content[place % len(content)] = rng.randrange(256)
        case 2:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(EDGES) & (256**size - 1)
            content[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))
        case 3:
            del content[place:]
        case 4:
            del content[place : place + rng.randrange(1, 64)]
        case 5:
            other = rng.choice(pool)
            start = rng.randrange(len(other) + 1)
            content[place:place] = other[start : start + rng.randrange(1, 256)]
        case 6:
            content[place:place] = content[place : place + rng.randrange(1, 64)] * rng.choice((1, 2, 50))
        case _:
            digits = [position for position, value in enumerate(content[:20_000]) if 48 <= value <= 57]
            if digits:
                content[rng.choice(digits)] = rng.choice(b"0123456789-.e")
    return content


def run_mutations(target: Target, *, seed: int, times: int | None = None, seconds: float | None = None) -> int:
    """Run a target on mutations; returns how many. What it raises leaves, with the input as a note.

    Args:
        target: what is run.
        seed: of the mutations: the same seed gives the same inputs.
        times: how many, or None.
        seconds: how long, or None.
    """
    ends = None if seconds is None else time.monotonic() + seconds
    done = 0
    for content in mutations(list(target.seeds()), seed):
        if done == times or (ends is not None and time.monotonic() > ends):
            break
        try:
            target.run(content)
        except BaseException as error:
            error.add_note(f"input {done} of seed {seed}: {content[:2000]!r}")
            raise
        done += 1
    return done
