"""System 23 at full scale: the table of NASBench-101, as the official notebook searches it.

The file ``nasbench_full.tfrecord`` (about 2 GB) is read once as a stream: about 20 minutes of one core, and 2 GiB of
memory for 423,000 cells. A seed has 6 searches of 5 million simulated seconds with a population of 100 and a tournament
of 10: some 3,000 candidates each, minutes of one core in all, no GPU. These figures are estimates: nobody has run it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.reproduction.functional_hashing.nasbench import TableEntry, read_table
from snellen.reproduction.functional_hashing.table_space import TableSpace
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.functional_hashing.function_cache import FunctionCache
from snellen.systems.functional_hashing.searching import Keys, Proposer, Search, Strategy, Trial

#: Names the file.
TABLE = "SNELLEN_NASBENCH_101"

#: Of the notebook: simulated seconds, population, tournament, seconds of a hash.
BUDGET, POPULATION, TOURNAMENT, HASH_SECONDS = 5e6, 100, 10, 10.0

#: Controls that a table does not have.
OF_SMALL = (
    "cells.distinct.hits", "cells.distinct.saved", "cells.evolution.hash_share", "cells.evolution.functional.saved",
    "cells.evolution.functional.collisions", "cells.evolution.functional.failed_hits",
)  # fmt: skip

_TABLES: dict[Path, Mapping[str, TableEntry]] = {}


def full_figures(seed: int, progress: Progress, budget: float = BUDGET) -> dict[str, Figure]:
    """Hits, and the simulated seconds until the best score of the search without a cache.

    Raises:
        InputError: the environment names no file, or the file is none of NASBench-101.
    """
    named = os.environ.get(TABLE)
    if not named:
        raise InputError(
            f"the full experiment needs the file nasbench_full.tfrecord of NASBench-101; name it with {TABLE}. For "
            "your own images, snellen search cells DATA does the same with real training"
        )
    path = Path(named)
    if path not in _TABLES:
        _TABLES[path] = read_table(path)
    space = TableSpace(_TABLES[path])
    found: dict[str, Figure] = {}
    strategies: tuple[Strategy, ...] = ("random", "evolution")
    progress.begin("functional hashing", 3 * len(strategies))
    for strategy in strategies:
        arms: dict[Keys, list[Trial]] = {}
        kinds: tuple[Keys, ...] = ("none", "structural", "functional")
        for keys in kinds:
            proposer = Proposer(space, strategy, POPULATION, TOURNAMENT, seed)
            search = Search(space, proposer, keys, FunctionCache(seed=seed), hash_seconds=HASH_SECONDS)
            arms[keys] = list(search.run(budget=budget))
            progress.advance("functional hashing", 1, f"{strategy}, {keys}")
        stem = f"cells.{strategy}"
        seen, repeated = set[str](), []
        for one in arms["functional"]:
            repeated.append(one.candidate in seen)
            seen.add(one.candidate)
        found[f"{stem}.textual.hits"] = Sample.of(repeated)
        best = max(one.valid for one in arms["none"])
        for keys in kinds[1:]:
            found[f"{stem}.{keys}.hits"] = Sample.of([one.kind == "full hit" for one in arms[keys]])
            found[f"{stem}.{keys}.speed_up"] = speed_up(arms["none"], arms[keys], best)
        found[f"{stem}.none.seconds"] = sum(one.seconds for one in arms["none"])
        for kind, trials in arms.items():
            top = max(trials, key=lambda one: one.valid)
            found[f"{stem}.{kind}.best"], found[f"{stem}.{kind}.best_test"] = top.valid, top.test
    progress.finish("functional hashing")
    # Arms have one budget here, and the table is never trained: these controls are of the small scale alone.
    return {**dict.fromkeys(OF_SMALL), **found}


def speed_up(plain: list[Trial], cached: list[Trial], valid: float) -> float | None:
    """Seconds of both until a score; None where the cached search never reached it."""
    spent = []
    for trials in (plain, cached):
        seconds = np.cumsum([one.seconds for one in trials])
        reached = [place for place, one in enumerate(trials) if one.valid >= valid]
        if not reached:
            return None
        spent.append(float(seconds[reached[0]]))
    return spent[0] / spent[1]
