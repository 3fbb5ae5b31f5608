"""What this process may use of the machine: processor cores and memory, under the limits of its control group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: Where Linux shows control groups; in a container, its own.
_GROUPS = Path("/sys/fs/cgroup")


def usable_cores(groups: Path = _GROUPS) -> int:
    """Processor cores that this process may use: those it is bound to, as far as its control group pays for them.

    Args:
        groups: where control groups are shown.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    paid = [max(int(quota // period), 1) for quota, period in _quotas(groups)]
    return min([bound, *paid])


def usable_memory(groups: Path = _GROUPS) -> int | None:
    """Bytes of memory that this process may have, of the whole machine or of its control group.

    None where the system does not say. Memory that others use is not subtracted: a choice that rests on this is the
    same each time.

    Args:
        groups: where control groups are shown.
    """
    limits = [int(text) for text in _read(groups, "memory.max", "memory/memory.limit_in_bytes") if text.isdigit()]
    with suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(limits, default=None)


def used_memory() -> int:
    """Bytes of memory that this process holds now; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _quotas(groups: Path) -> Iterator[tuple[int, int]]:
    """Microseconds of processor time, and of the clock in which they may be used."""
    for text in _read(groups, "cpu.max"):
        quota, _, period = text.partition(" ")
        if quota.isdigit() and period.isdigit():
            yield int(quota), int(period)
    older = zip(_read(groups, "cpu/cpu.cfs_quota_us"), _read(groups, "cpu/cpu.cfs_period_us"), strict=False)
    yield from ((int(quota), int(period)) for quota, period in older if quota.isdigit() and period.isdigit())


def _read(groups: Path, *names: str) -> Iterator[str]:
    """Contents of these files, of the group of this process and of those above it."""
    own = ""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next(line.removeprefix("0::/") for line in lines if line.startswith("0::/"))
    above = [groups / own, *(groups / own).parents]
    for folder in above[: len(Path(own).parts) + 1]:
        for name in names:
            with suppress(OSError):
                yield (folder / name).read_text().strip()
