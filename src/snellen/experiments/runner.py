"""Run a system's experiment over seeds and judge its claims.

The claims are data, written before anything is run; their hash goes into the record. When a record of other claims
exists, every changed claim must carry an ``amended`` line with the reason, or nothing is run.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from snellen.errors import InputError, SnellenError
from snellen.experiments.result import ClaimResult, Result
from snellen.metrics.intervals import mean_interval
from snellen.progress import Progress, Silent
from snellen.run import canonical_json, write_atomically
from snellen.system import Claim, Scale, System
from snellen.version import __version__


class Experiment(Protocol):
    """An experiment is a function; ``stand_ins`` names what replaces the paper's models and data at this scale."""

    def __call__(self, scale: Scale, seed: int, progress: Progress) -> Mapping[str, float]:
        """Run once; returns figures by name: the metrics, baselines and controls that the claims name."""
        ...


def reproduce(
    system: System,
    *,
    scale: Scale = "small",
    seeds: int = 3,
    record_in: Path | None = None,
    progress: Progress | None = None,
) -> Result:
    """Measure the claims of one system.

    Args:
        system: see :func:`snellen.system.find_system`.
        scale: smoke, small or full.
        seeds: number of independent runs, with seeds 0, 1, ….
        record_in: folder for ``NN.json``; None records nothing.
        progress: who hears of progress.

    Raises:
        InputError: the system is not built, has no claim at this scale, or its claims changed without a reason.
        SnellenError: the experiment did not return a figure that a claim names.
    """
    if system.experiment is None:
        raise InputError(
            f"system {system.number} ({system.acronym}) is not built yet, so there is nothing to run; "
            f"'snellen systems' shows what is"
        )
    claims = [claim for claim in system.claims if scale in claim.scales]
    if not claims and scale != "smoke":
        raise InputError(f"system {system.number} states no claim at scale {scale!r}")
    target = None if record_in is None else record_in / f"{system.number:02d}.json"
    if target is not None:
        _check_amendments(system, target)
    experiment = _load(system.experiment)
    listener = progress or Silent()
    listener.begin("seeds", seeds)
    started = time.perf_counter()
    runs = []
    for seed in range(seeds):
        figures = dict(experiment(scale, seed, listener))
        _check_figures(system, claims, figures)
        runs.append(figures)
        listener.advance("seeds", 1)
    listener.finish("seeds")
    named = {name for claim in claims for name in claim.controls}
    result = Result(
        system=system.number,
        title=system.title,
        scale=scale,
        seeds=seeds,
        claims=tuple(_judge(claim, runs) for claim in claims),
        claims_hash=system.claims_hash,
        claim_hashes={claim.id: claim.hash for claim in system.claims},
        controls={name: sum(run[name] for run in runs) / seeds for name in sorted(named)},
        environment=_environment(),
        duration_s=round(time.perf_counter() - started, 1),
        stand_ins=tuple(getattr(experiment, "stand_ins", {}).get(scale, ())),
    )
    if target is not None:
        write_atomically(target, canonical_json(result.model_dump(mode="json")))
    return result


def _load(target: str) -> Callable[..., Mapping[str, float]]:
    module, _, name = target.partition(":")
    experiment: Callable[..., Mapping[str, float]] = getattr(importlib.import_module(module), name)
    return experiment


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


def _check_figures(system: System, claims: Sequence[Claim], figures: Mapping[str, float]) -> None:
    for claim in claims:
        for name in (claim.metric, *([claim.baseline] if claim.baseline else []), *claim.controls):
            if name not in figures:
                raise SnellenError(
                    f"the experiment of system {system.number} gave no figure {name!r}, which claim {claim.id} names; "
                    f"it gave: {', '.join(sorted(figures)) or 'none'}"
                )


def _check_amendments(system: System, target: Path) -> None:
    """Refuse to overwrite a record of other claims unless each changed claim says why."""
    if not target.is_file():
        return
    before: dict[str, str] = json.loads(target.read_text(encoding="utf-8"))["claim_hashes"]
    silent = [claim.id for claim in system.claims if claim.amended is None and before.get(claim.id) != claim.hash]
    dropped = sorted(set(before) - {claim.id for claim in system.claims})
    if silent or dropped:
        raise InputError(
            f"the claims of system {system.number} differ from those recorded in {target} "
            f"(changed without an 'amended' reason: {', '.join(silent) or 'none'}; dropped: "
            f"{', '.join(dropped) or 'none'}); write the reason into the claim, or restore it"
        )


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
