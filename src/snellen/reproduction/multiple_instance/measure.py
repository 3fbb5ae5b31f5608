"""Instance and bag AUROC of every way at every share of positive instances: docs/measured/instance-rates.json.

The runs are those of the small experiment. Its record keeps the figures of the claims alone; this file keeps them all.
A seed that is there already is not run again. A seed takes about 13 minutes on one core.
"""

from __future__ import annotations

import json
from pathlib import Path

from snellen.core.progress import Progress
from snellen.core.run import canonical_json, write_atomically
from snellen.reproduction.multiple_instance.experiment import multiple_instance
from snellen.reproduction.shared.documents import Measurements, measured_path


def measure_rates(root: Path, progress: Progress, *, seeds: int = 3) -> None:
    """Run the seeds that are missing, and write after each."""
    path = measured_path(root, "instance-rates")
    found = json.loads(path.read_bytes()) if path.exists() else {}
    for seed in map(str, range(seeds)):
        if seed not in found:
            figures = multiple_instance("small", int(seed), progress)
            found[seed] = {name: round(value, 6) for name, value in sorted(figures.items()) if _of_a_world(name)}
            write_atomically(path, canonical_json(found))


def _of_a_world(name: str) -> bool:
    return not name[0].isdigit() and not name.endswith((".spread", ".attending"))


MEASUREMENTS: Measurements = {"rates": measure_rates}
