"""System 23 at full scale: the table of NASBench-101, as the official notebook searches it.

The file ``nasbench_full.tfrecord`` (about 2 GB) is read once as a stream: about 20 minutes of one core, and 2 GiB of
memory for 423,000 cells. A seed has 4 searches of 5 million simulated seconds with a population of 100 and a tournament
of 10: some 3,000 candidates each, minutes of one core in all, no GPU. These figures are estimates: nobody has run it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.reproduction.sample import Figure, Sample
from snellen.systems.functional_hashing.function_cache import FunctionCache
from snellen.systems.functional_hashing.nasbench import TableEntry, read_table
from snellen.systems.functional_hashing.searching import Keys, Proposer, Search, Strategy, Trial
from snellen.systems.functional_hashing.table_space import TableSpace

#: Names the file.
TABLE = "SNELLEN_NASBENCH_101"

#: Of the notebook: simulated seconds, population, tournament, seconds of a hash.
BUDGET, POPULATION, TOURNAMENT, HASH_SECONDS = 5e6, 100, 10, 10.0

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
    progress.begin("functional hashing", 2 * len(strategies))
    for strategy in strategies:
        arms: dict[Keys, list[Trial]] = {}
        kinds: tuple[Keys, ...] = ("none", "functional")
        for keys in kinds:
            proposer = Proposer(space, strategy, POPULATION, TOURNAMENT, seed)
            search = Search(space, proposer, keys, FunctionCache(seed=seed), hash_seconds=HASH_SECONDS)
            arms[keys] = list(search.run(budget=budget))
            progress.advance("functional hashing", 1, f"{strategy}, {keys}")
        hits = [one.kind == "full hit" for one in arms["functional"]]
        textual = [str(one.candidate) for one in arms["functional"]]
        stem = f"cells.{strategy}"
        found[f"{stem}.functional.hits"] = Sample.of(hits)
        found[f"{stem}.textual.hits"] = Sample.of([one in textual[:place] for place, one in enumerate(textual)])
        best = max(one.valid for one in arms["none"])
        found[f"{stem}.functional.speed_up"] = _speed_up(arms["none"], arms["functional"], best)
        for keys, trials in arms.items():
            top = max(trials, key=lambda one: one.valid)
            found[f"{stem}.{keys}.best"], found[f"{stem}.{keys}.best_test"] = top.valid, top.test
    progress.finish("functional hashing")
    return found


def _speed_up(plain: list[Trial], cached: list[Trial], valid: float) -> float | None:
    """Seconds of both until a score; None where the cached search never reached it."""
    spent = []
    for trials in (plain, cached):
        seconds = np.cumsum([one.seconds for one in trials])
        reached = [place for place, one in enumerate(trials) if one.valid >= valid]
        if not reached:
            return None
        spent.append(float(seconds[reached[0]]))
    return spent[0] / spent[1]
