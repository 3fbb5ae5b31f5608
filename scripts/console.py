"""Progress of a training, in lines."""

from __future__ import annotations

import time


class Console:
    """Prints a line for every hundredth step."""

    def __init__(self) -> None:
        self.steps, self.started = 0, time.monotonic()

    def begin(self, task: str, total: float) -> None:
        """Say what starts."""
        print(f"{task}: {total:.0f} steps", flush=True)

    def advance(self, task: str, amount: float, note: str = "") -> None:
        """Say how far it is."""
        self.steps += int(amount)
        if note and self.steps % 100 == 0:
            print(f"{task}: step {self.steps}, {note}, {time.monotonic() - self.started:.0f} s", flush=True)

    def finish(self, task: str) -> None:
        """Say that it ended."""
        print(f"{task}: done after {time.monotonic() - self.started:.0f} s", flush=True)
