"""Every comparison with a peer in one run, at a small size: docs/measured/peers.json and a table in docs/benchmarks.md.

Each comparison is a process of its own; they run in turn, with one thread. Times are of the processor, and ratios are
ours over theirs, within a round: below 1 we are faster. A peer that is not installed is skipped, and the reason is
recorded. Comparisons that are not measured this time stay in the file. About half an hour in all. CheckMAITE pins an
older NumPy than Snellen's: CHECKMAITE_PYTHON names the interpreter of an environment in which it is installed.

    python benchmarks/all.py [--only attacks,corruptions] [--out docs/measured/peers.json]
    python scripts/write_tables.py peers
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

COMPARISONS = (
    "attacks", "ensemble", "corruptions", "medical", "explanations", "labels", "data", "smoothing", "sampling", "audit",
)  # fmt: skip

#: One thread for whatever library there is. And no memory handed back to the system between calls: else some calls
#: fetch it again at every pass and others do not, as chance lays out the heap, which doubles the time of short ones.
ENVIRONMENT = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS"), "1"
    ),
    "MALLOC_TRIM_THRESHOLD_": str(2**29),
    "MALLOC_MMAP_THRESHOLD_": str(2**29),
    "TQDM_DISABLE": "1",
}

#: Lines of a child process that are rows begin so; packages print as they like.
MARK = "row: "


def main() -> None:
    """Run the comparisons, and print and write their rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(COMPARISONS), help="names, by commas")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "measured" / "peers.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(options.child)
        return
    names = options.only.split(",")
    if unknown := set(names) - set(COMPARISONS):
        raise SystemExit(f"no comparison {', '.join(sorted(unknown))}: {', '.join(COMPARISONS)}")
    record = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {"comparisons": {}}
    for name in names:
        record["comparisons"][name] = {"environment": environment(), "rows": run(name)}
        ordered = {key: record["comparisons"][key] for key in COMPARISONS if key in record["comparisons"]}
        options.out.write_text(json.dumps({"comparisons": ordered}, indent=1) + "\n", encoding="utf-8")


def environment() -> dict[str, str]:
    """What the figures depend on."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    return {"python": platform.python_version(), **versions, "threads": "1"}


def run(name: str) -> list[dict[str, Any]]:
    """The rows of one comparison, from a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--child", name]
    found = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **ENVIRONMENT}) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith(MARK):
                found.append(json.loads(line.removeprefix(MARK)))
                print(f"{name:13}{shown(found[-1])}", flush=True)
    if child.returncode:
        raise SystemExit(f"{name} failed (exit code {child.returncode}); its error is above")
    return found


def shown(row: dict[str, Any]) -> str:
    """A row as a line of text."""
    if "skipped" in row:
        return f"{row['what'] or 'all'}: {row['package']} skipped: {row['skipped']}"
    return (
        f"{row['what']}: {row['peer']} {row['version']}, {'equal' if row['equal'] else 'NOT EQUAL'} ({row['result']}), "
        f"{row['ours']:.4f} s, theirs {row['theirs']:.4f} s, {row['ratio']} ({row['low']} to {row['high']})"
    )


def measure(name: str) -> None:
    """Measure one comparison in this process, and print its rows."""
    import torch
    from beside.contest import rows, skipped, why_missing

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    comparison = importlib.import_module(f"beside.{name}")
    missing = {package: why_missing(module) for package, module in comparison.PEERS.items()}
    found = [skipped(package, why) for package, why in missing.items() if why is not None]
    for row in found:
        print(MARK + json.dumps(row), flush=True)
    for contest in comparison.contests({package for package, why in missing.items() if why is None}):
        for row in [contest] if isinstance(contest, dict) else rows(contest):
            print(MARK + json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
