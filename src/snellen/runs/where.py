"""Where a call runs: the engine that somebody named, or what Snellen chooses where nobody did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.core.errors import InputError
from snellen.runs.ahead import is_foreseeable
from snellen.runs.engines.choosing import Chosen, choose_engine
from snellen.runs.engines.engine import Engine
from snellen.runs.engines.lanes import lanes_for
from snellen.runs.measuring import read_part

if TYPE_CHECKING:
    from snellen.runs.runner import Call


@dataclass(frozen=True)
class Where:
    """The arguments of :class:`~snellen.runs.runner.Running`, read."""

    engine: str | Engine | None = None
    processes: int | None = None
    address: str | None = None
    threads: int | None = None
    part: str | None = None
    budget: float | str | None = None
    allow_rejected: bool = False

    @classmethod
    def of(cls, running: Mapping[str, Any]) -> Where:
        """Read what a verb passes on.

        Raises:
            TypeError: an argument that neither the verb nor this knows.
        """
        known = [field.name for field in fields(cls)]
        for name in running:
            if name not in known:
                raise TypeError(
                    f"unexpected argument {name!r}: beside its own, which help() shows (names of classes are "
                    f"class_names), a verb takes {', '.join(known)}"
                )
        return cls(**running)

    def part_of(self, out: Path | str | None) -> tuple[int, int]:
        """Which of how many parts to measure."""
        if self.part is not None and out is None:
            raise InputError("a part goes into a folder that all parts share: name it with out")
        if self.part is not None and self.budget is not None:
            raise InputError("a budget is resolved by one process, and parts run side by side: give a limit instead")
        return read_part(self.part)

    def crew(self, call: Call[Any], threads: int | None) -> Chosen:
        """Who measures."""
        gpu = any(classifier.device.type == "cuda" for classifier in call.classifiers)
        threads = threads if self.threads is None else self.threads
        if call.twin is not None and (self.engine, self.processes, self.address, self.part) == (None, None, None, None):
            beside = lanes_for(call.classifiers, call.twin, [*map(len, call.shards)], threads)
            if beside is not None:
                return beside
        chosen = choose_engine(
            self.engine or ("in_process" if self.processes in (None, 1) else "local"),
            processes=self.processes,
            threads=threads,
            address=self.address,
            gpu=gpu,
        )
        if chosen.engine is not None:
            if call.again is not None:
                call.again.check()
            elif not is_foreseeable(call.what):
                raise InputError(f'this {call.what} is made by one process only; use the engine "in_process"')
        return chosen
