"""Run a system's experiment over seeds and judge its claims.

The claims are data, written before anything is run; their hash goes into the record. When a record of other claims
exists, every changed claim must carry an ``amended`` line with a reason that the record does not hold yet, or nothing
is run.
"""

from __future__ import annotations

import importlib
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Protocol

from snellen.core.errors import InputError, SnellenError
from snellen.core.progress import Progress, Silent
from snellen.core.run import canonical_json, write_atomically
from snellen.core.system import Claim, Scale, System, find_system
from snellen.metrics.intervals import mean_interval
from snellen.reproduction.finished_seeds import FinishedSeeds
from snellen.reproduction.record_rules import check_recordable
from snellen.reproduction.result import ClaimResult, Result
from snellen.version import __version__


class Experiment(Protocol):
    """An experiment is a function; ``stand_ins`` names what replaces the paper's models and data at this scale."""

    def __call__(self, scale: Scale, seed: int, progress: Progress) -> Mapping[str, float]:
        """Run once; returns figures by name: the metrics, baselines and controls that the claims name."""
        ...


def reproduce(
    system: System | str | int,
    *,
    scale: Scale = "small",
    seeds: int = 3,
    record_in: Path | None = None,
    progress: Progress | None = None,
) -> Result:
    """Measure the claims of one system.

    With ``record_in``, each finished seed is kept in ``NAME.partial.json`` there until the result is written, and a run
    that was stopped goes on from it when claims, scale and version are the same. Delete that file after a change of the
    experiment.

    Args:
        system: a system, or its number or acronym as :func:`snellen.core.system.find_system` takes them.
        scale: smoke, small or full.
        seeds: number of independent runs, with seeds 0, 1, …; recording needs at least 3.
        record_in: folder for ``NAME.json``; None records nothing.
        progress: who hears of progress.

    Raises:
        InputError: the system is unknown, not built, has no claim at this scale, or its experiment is not there; or the
            result may not be recorded, see :func:`snellen.reproduction.record_rules.check_recordable`.
        SnellenError: the experiment did not return a figure that a claim names, or one that is no finite number.
    """
    if seeds < 1:
        raise InputError(f"seeds must be at least 1, got {seeds}")
    if not isinstance(system, System):
        system = find_system(str(system))
    if system.experiment is None:
        raise InputError(
            f"system {system.number} ({system.acronym}) is not built yet, so there is nothing to run; "
            f"'snellen systems' shows what is"
        )
    claims = [claim for claim in system.claims if scale in claim.scales]
    if not claims and scale != "smoke":
        raise InputError(f"system {system.number} states no claim at scale {scale!r}")
    target = partial = None
    if record_in is not None:
        target, partial = (record_in / f"{system.name}{ending}" for ending in (".json", ".partial.json"))
        check_recordable(system, scale, seeds, target)
    finished = FinishedSeeds.resume(partial, system, scale, _environment())
    experiment = _load(system, system.experiment)
    listener = progress or Silent()
    listener.begin("seeds", seeds)
    for seed in range(seeds):
        if seed not in finished.figures:
            started = time.perf_counter()
            figures = _checked(system, claims, seed, experiment(scale, seed, listener))
            finished = finished.adding(seed, figures, time.perf_counter() - started)
            if partial is not None:
                finished.save(partial)
        listener.advance("seeds", 1)
    listener.finish("seeds")
    runs = [finished.figures[seed] for seed in range(seeds)]
    named = {name for claim in claims for name in claim.controls}
    result = Result(
        system=system.number,
        title=system.title,
        scale=scale,
        seeds=seeds,
        claims=tuple(_judge(claim, runs) for claim in claims),
        claims_hash=system.claims_hash,
        claim_hashes={claim.id: claim.hash for claim in system.claims},
        amendments={claim.id: claim.amended for claim in system.claims if claim.amended is not None},
        controls={name: sum(run[name] for run in runs) / seeds for name in sorted(named)},
        environment=finished.environment,
        duration_s=round(finished.duration_s, 1),
        stand_ins=tuple(getattr(experiment, "stand_ins", {}).get(scale, ())),
    )
    if target is not None and partial is not None:
        write_atomically(target, canonical_json(result.model_dump(mode="json")))
        partial.unlink(missing_ok=True)
    return result


def _load(system: System, target: str) -> Callable[..., object]:
    """Import the experiment; an ImportError inside of a module that is there is its own."""
    module, _, name = target.partition(":")
    experiment = None
    if module and name:
        try:
            experiment = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise
    if not callable(experiment):
        raise InputError(
            f"system {system.number} ({system.acronym}) names the experiment {target!r}, but there is no such "
            f"function; expected module:function, of a module that can be imported"
        )
    found: Callable[..., object] = experiment
    return found


def _judge(claim: Claim, runs: Sequence[Mapping[str, float]]) -> ClaimResult:
    """A claim holds when the whole interval lies on its side; with one seed, when the figure does."""
    ours = [run[claim.metric] for run in runs]
    baseline = [run[claim.baseline] for run in runs] if claim.baseline else None
    about = ours if baseline is None else [a - b for a, b in zip(ours, baseline, strict=True)]
    low, high = mean_interval(about) if len(about) > 1 else (about[0], about[0])
    return ClaimResult(
        id=claim.id,
        statement=claim.statement,
        source=claim.source,
        metric=claim.metric,
        ours=sum(ours) / len(ours),
        baseline=None if baseline is None else sum(baseline) / len(baseline),
        low=low,
        high=high,
        direction=claim.direction,
        threshold=claim.threshold,
        holds=low > claim.threshold if claim.direction == ">" else high < claim.threshold,
        seeds=len(runs),
        amended=claim.amended,
    )


def _checked(system: System, claims: Sequence[Claim], seed: int, returned: object) -> dict[str, float]:
    """The figures of one seed, each a finite number, those that the claims name among them."""
    whose = f"the experiment of system {system.number}, seed {seed},"
    if not isinstance(returned, Mapping):
        raise SnellenError(f"{whose} must return figures by name, got {type(returned).__name__}")
    for name, figure in returned.items():
        if not (isinstance(figure, Real) and math.isfinite(figure)):
            raise SnellenError(f"{whose} must return finite numbers, got {name!r} = {figure!r}")
    for claim in claims:
        for name in (claim.metric, *([claim.baseline] if claim.baseline else []), *claim.controls):
            if name not in returned:
                raise SnellenError(
                    f"{whose} gave no figure {name!r}, which claim {claim.id} names; "
                    f"it gave: {', '.join(sorted(returned)) or 'none'}"
                )
    return {str(name): float(figure) for name, figure in returned.items()}


def _environment() -> dict[str, str]:
    import torch

    return {
        "snellen": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": str(torch.get_num_threads()),
        "cores": str(os.cpu_count()),
    }
