"""Instance and bag AUROC of every way of system 36 at every share of positive instances.

    python scripts/measure_instance_rates.py [--seeds 3]

The runs are those of ``snellen reproduce 36``, whose record keeps the figures of its claims alone; this keeps them
all, in docs/measured/instance-rates.json. A seed that is there already is not run again. About 13 minutes a seed on
one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from snellen.cli.progress import TerminalProgress
from snellen.core.run import canonical_json, write_atomically
from snellen.reproduction.multiple_instance.experiment import multiple_instance

RESULT = Path(__file__).parents[1] / "docs" / "measured" / "instance-rates.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write after each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = json.loads(RESULT.read_bytes()) if RESULT.exists() else {}
    with TerminalProgress() as progress:
        for seed in map(str, range(chosen.seeds)):
            if seed not in found:
                figures = multiple_instance("small", int(seed), progress)
                found[seed] = {name: round(value, 6) for name, value in sorted(figures.items()) if _of_a_world(name)}
                write_atomically(RESULT, canonical_json(found))


def _of_a_world(name: str) -> bool:
    return not name[0].isdigit() and not name.endswith((".spread", ".attending"))


if __name__ == "__main__":
    main()
