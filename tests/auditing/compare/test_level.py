"""How often equally good models are told apart: the level of the whole comparison, by simulation."""

import numpy as np
import pytest

from snellen.auditing.compare.compare import compare_records
from snellen.core.finding import Finding
from tests.auditing.compare.simulated_runs import NAMES, drawn_run

GROUPS = ("north", "south", "east")

#: Everything that can be judged is told in both runs, so that every verdict is seen.
TOLD = [
    *(Finding(kind="corruption", subject=kind, harm=0.1, title=kind) for kind in ("fog", "snow")),
    *(Finding(kind="worst_class", subject=name, harm=0.1, title=name) for name in NAMES),
    Finding(kind="adversarial", subject="linf.2", harm=0.1, title="linf"),
    Finding(kind="calibration", harm=0.0, title="sure"),
    *(Finding(kind="group_gap", subject=name, harm=0.1, title=name) for name in GROUPS),
    Finding(kind="accuracy", harm=0.0, title="wrong"),
]


def share_called_worse(pairs, count, units):
    worse = 0
    for seed in range(pairs):
        rng = np.random.default_rng(seed)
        codes = None if units == 1 else np.arange(count) // units
        difficulty = rng.normal(size=count) if codes is None else rng.normal(size=count // units)[codes]
        groups = [GROUPS[unit % 3] for unit in (np.arange(count) if codes is None else codes)]
        told = {"units": codes, "groups": groups, "findings": TOLD}
        runs = [drawn_run(rng, count, difficulty=difficulty, **told) for _ in range(2)]
        found = compare_records(*runs, resamples=30)
        worse += bool(found.losses) or any(one.verdict in ("worse", "new") for one in found.findings)
    return worse / pairs


@pytest.mark.parametrize(("pairs", "units"), [(200, 1), (60, 4)])
def test_equal_models_are_rarely_called_worse(pairs, units):
    assert share_called_worse(pairs, 120, units) <= 0.05
