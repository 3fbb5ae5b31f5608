"""Tables of a search with and without the cache, over the seeds of results/functional_hashing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from snellen.reproduction.sample import mean_of
from snellen.reproduction.seed_file import SeedFile, read_seeds
from snellen.reproduction.shared.documents import Tables, markdown_table, mean_words

SPACES = {"cells": "cells", "losses": "loss functions", "programs": "programs"}

NOISE = {"noise_0": "0", "noise_0.02": "0.02", "noise_0.05": "0.05"}

REMEDIES = {
    "plain": "plain cache",
    "averaged": "four evaluations averaged",
    "forgetting": "forgetting with 0.1",
    "forgetting_often": "forgetting with 0.5",
}

#: One figure of each seed.
Seeds = Sequence[dict[str, float]]


def saved_table(seeds: Seeds) -> str:
    """A row for each space and strategy: repeats, time to the final score of a search without a cache, collisions."""
    rows = []
    for space, name in SPACES.items():
        for strategy in ("random", "evolution"):
            at = f"{space}.{strategy}"

            def of(key: str, at: str = at) -> list[float]:
                return [one[f"{at}.{key}"] for one in seeds]

            rows.append(
                [
                    f"{name}, {strategy}",
                    f"{_percent(of('structural.hits'))} · {_percent(of('functional.hits'))}",
                    f"{_percent(of('structural.saved'))} · {_percent(of('functional.saved'))}",
                    mean_words(of("structural.speed_up"), "{:.2f}"),
                    mean_words(of("functional.speed_up"), "{:.2f}"),
                    f"{np.mean(of('functional.collisions')):.2%}",
                ]
            )
    head = [
        "space, search",
        "repeats: structural · functional",
        "seconds saved",
        "times as fast, structural (95 %)",
        "times as fast, functional (95 %)",
        "collisions",
    ]
    return markdown_table(head, rows)


def noise_table(seeds: Seeds) -> str:
    """A row for each noise: true accuracy of the pick with the plain cache, and what each remedy adds."""
    rows = []
    for noise, name in NOISE.items():
        of = {remedy: np.array([one[f"{noise}.{remedy}.true"] for one in seeds]) for remedy in REMEDIES}
        added = [mean_words(list(of[remedy] - of["plain"]), "{:+.3f}") for remedy in list(REMEDIES)[1:]]
        rows.append([name, f"{of['plain'].mean():.3f}", *added])
    return markdown_table(["noise, sd", *REMEDIES.values()], rows)


def means_of(seed: SeedFile) -> dict[str, float]:
    """Mean of each figure of a seed; figures without a value are left out."""
    means = {name: mean_of(one) for name, one in seed.measured().items()}
    return {name: one for name, one in means.items() if one is not None}


def _percent(values: Sequence[float]) -> str:
    return f"{np.mean(values):.1%}"


def _of_record(draw: Callable[[Seeds], str]) -> Callable[[Path], str]:
    def written(root: Path) -> str:
        seeds = read_seeds(root / "results", "functional_hashing")
        return draw([means_of(seed) for seed in seeds])

    return written


TABLES: Tables = {
    "docs/systems/functional_hashing.md": {"saved": _of_record(saved_table), "noise": _of_record(noise_table)}
}
