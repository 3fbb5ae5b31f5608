"""Fuzz every loader, one after the other, and record what was done.

    python -m fuzzing.run [TARGET ...] [--minutes 30] [--record docs/measured/fuzzing.json] [--keep FOLDER]

Under atheris where it is installed (``pip install atheris``), else by mutations of valid files. Each target gets the
same share of the time, a process of its own and at most 2 GiB; an input may take 30 seconds. A fault ends its target;
the input is kept. Run it from the folder of the project.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from fuzzing.mutation import run_mutations
from fuzzing.targets import TARGETS
from snellen.core.run import canonical_json

#: Packages whose native code is reached.
PACKAGES = ("numpy", "pillow", "pyarrow", "safetensors")

MEMORY_MB, SECONDS_AN_INPUT = 2048, 30


def guided(name: str, seconds: int, keep: Path, seed: int) -> dict[str, object]:
    """Run one target under atheris."""
    corpus = keep / "corpus" / name
    faults = keep / "faults" / name
    faults.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}", f"-rss_limit_mb={MEMORY_MB}", f"-timeout={SECONDS_AN_INPUT}", f"-seed={seed}",
        "-print_final_stats=1", f"-artifact_prefix={faults}/", "-max_len=100000", "-verbosity=1",
    ]  # fmt: skip
    started = time.monotonic()
    # libFuzzer ends the process at once: what is left of its files goes with their folder, which no disk sees.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="snellen-fuzzing-", dir=memory if memory.is_dir() else None) as place:
        done = subprocess.run(
            [sys.executable, "-m", "fuzzing.guided", name, str(corpus), *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
            env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": place},
        )  # fmt: skip
    (keep / f"{name}.log").write_text(done.stderr, encoding="utf-8")
    executed = re.findall(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    covered = re.findall(r"cov: (\d+) ft: (\d+)", done.stderr)
    peak = re.findall(r"stat::peak_rss_mb:\s+(\d+)", done.stderr)
    return {
        "executions": int(executed[-1]) if executed else 0,
        "seconds": round(time.monotonic() - started, 1),
        "edges_covered": int(covered[-1][0]) if covered else None,
        "inputs_kept": len(list(corpus.iterdir())) if corpus.is_dir() else 0,
        "peak_mb": int(peak[-1]) if peak else None,
        "faults": sorted(path.name for path in faults.iterdir()),
        "code": done.returncode,
    }


def mutated(name: str, seconds: int, seed: int) -> dict[str, object]:
    """Run one target on mutations, in this process."""
    started, faults, done = time.monotonic(), list[str](), 0
    try:
        done = run_mutations(TARGETS[name], seed=seed, seconds=seconds)
    except Exception as error:
        faults.append(f"{type(error).__name__}: {error} {getattr(error, '__notes__', '')}"[:1000])
    return {"executions": done, "seconds": round(time.monotonic() - started, 1), "faults": faults}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all when none is named")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for corpora, logs and inputs of faults")
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    names = arguments.targets or list(TARGETS)
    seconds = max(int(60 * arguments.minutes / len(names)), 1)
    try:
        engine = f"atheris {importlib.metadata.version('atheris')}"
    except importlib.metadata.PackageNotFoundError:
        engine = "mutations of valid files"
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MB * 2**20,) * 2)
    keep = arguments.keep or Path(tempfile.mkdtemp(prefix="snellen-fuzzing-"))
    found = {}
    for name in names:
        run = (
            guided(name, seconds, keep, arguments.seed)
            if "atheris" in engine
            else mutated(name, seconds, arguments.seed)
        )
        found[name] = run
        print(name, json.dumps(run), flush=True)
    record = {
        "engine": engine,
        "when": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "memory_mb": MEMORY_MB,
        "seconds_an_input": SECONDS_AN_INPUT,
        "minutes": round(sum(float(str(run["seconds"])) for run in found.values()) / 60, 1),
        "executions": sum(int(str(run["executions"])) for run in found.values()),
        "faults": sum(len(run["faults"]) if isinstance(run["faults"], list) else 0 for run in found.values()),
        "targets": found,
    }
    if arguments.record is not None:
        arguments.record.write_bytes(canonical_json(record))
    print(f"{record['executions']} inputs in {record['minutes']} minutes, {record['faults']} faults; kept in {keep}")
    raise SystemExit(1 if record["faults"] else 0)


if __name__ == "__main__":
    main()
