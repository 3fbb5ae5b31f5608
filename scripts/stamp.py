"""Stamp a record on another kind of processor than it was made on: run the code that was recorded beside today's.

    python scripts/stamp.py NAME COMMIT [--scale small]

Another kind of processor rounds differently, and a long training turns that into other figures, so that no seed gives
the stored values again. Here the first seed is run twice, by the code of COMMIT, which the record is of, and by the
code as it is now. Where both give the same figures, the record keeps its values and gets the hash of today's code. It
takes as long as two seeds of the record; ``results/`` of this folder is changed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from snellen.reproduction.runner import stamp_record
from snellen.reproduction.seed_file import read_seeds

ROOT = Path(__file__).parents[1]

#: What the code of the commit runs: the next seed of a record that has none yet.
ONE_SEED = """
import sys
from pathlib import Path
import torch
from snellen.reproduction.runner import advance_record
name, scale, threads, folder = sys.argv[1:]
torch.set_num_threads(int(threads))
advance_record(name, Path(folder), scale=scale)
"""


def run_by(commit: str, name: str, scale: str, threads: str, folder: Path) -> None:
    """Write the first seed of a record, by the code of a commit, into a folder."""
    with tempfile.TemporaryDirectory() as place:
        checkout = Path(place) / "checkout"
        subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(checkout)], check=True)
        subprocess.run(["git", "checkout", "--quiet", commit], cwd=checkout, check=True)
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
        arguments = [name, scale, threads, str(folder)]
        subprocess.run([sys.executable, "-c", ONE_SEED, *arguments], cwd=checkout, env=environment, check=True)


def main() -> None:
    """Run the seed by both versions, and stamp."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the system")
    parser.add_argument("commit", help="whose code was recorded")
    parser.add_argument("--scale", default="small", help="of the record")
    options = parser.parse_args()
    stored = read_seeds(ROOT / "results", options.name)
    threads = stored[0].environment.get("threads", "1") if stored else "1"
    with tempfile.TemporaryDirectory() as folder:
        run_by(options.commit, options.name, options.scale, threads, Path(folder))
        result = stamp_record(options.name, ROOT / "results", beside=Path(folder))
    print(f"{options.name}: the record of {result.seeds} seeds is of the code as it is now")


if __name__ == "__main__":
    main()
