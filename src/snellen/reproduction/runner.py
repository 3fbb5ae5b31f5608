"""Run a system's experiment over seeds, judge its claims, and record what was found.

The claims are data, written before anything is run; so are the gates, the number of seeds and the minutes that a seed
may take. A record holds the hash of all that and of the code it was measured with, and the values of each seed.
"""

from __future__ import annotations

import importlib
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from snellen.core.budget import time_words
from snellen.core.errors import InputError, SnellenError
from snellen.core.progress import Progress, Silent
from snellen.core.run import canonical_json, write_atomically
from snellen.core.system import Scale, System, find_system, read_record
from snellen.reproduction.experiment_code import experiment_hash
from snellen.reproduction.full_inputs import check_full_inputs
from snellen.reproduction.judge import judge_claim, judge_gate
from snellen.reproduction.record_rules import check_recordable
from snellen.reproduction.result import Result
from snellen.reproduction.sample import Figure, checked_figures, mean_of
from snellen.reproduction.seed_file import SeedFile, finished_seeds, named_figures, read_seeds
from snellen.version import __version__


class Experiment(Protocol):
    """An experiment is a function; ``stand_ins`` names what replaces the paper's models and data at this scale."""

    def __call__(self, scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
        """Run once; returns figures by name: the metrics, baselines and controls that the claims name."""
        ...


def reproduce(
    system: System | str | int,
    *,
    scale: Scale = "small",
    seeds: int | None = None,
    record_in: Path | str | None = None,
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> Result:
    """Measure the claims of one system.

    Without ``record_in`` this is a pilot: seeds 0, 1, …, and nothing is kept. With it, the seeds are those of the
    system's budget; each finished one becomes ``NAME/seed-N.json`` there, a stopped run resumes from these files, and
    ``NAME.json`` is written last.

    Args:
        system: a system, or its name, number or acronym as :func:`snellen.core.system.find_system` takes them.
        scale: smoke, small or full.
        seeds: of a pilot; None: one at scale smoke, which judges nothing, else as many as the budget says. A record
            has the seeds of its budget.
        record_in: folder for ``NAME.json``; None records nothing.
        progress: callback that receives progress updates.
        announce: is called with a line before the first seed, and after each.

    Raises:
        InputError: the system is unknown, not built, has no claim at this scale, or its experiment is not there; at
            full scale, models or data are not named in the environment, or not there; or the result may not be
            recorded, see :func:`snellen.reproduction.record_rules.check_recordable`.
        SnellenError: the experiment did not return a figure that a claim names, or one that is no finite number.
    """
    system = _runnable(system, scale)
    listener = progress or Silent()
    if record_in is None:
        count = seeds if seeds is not None else 1 if scale == "smoke" else system.budget.seeds
        if count < 1:
            raise InputError(f"seeds must be at least 1, got {count}")
        announce(_beginning(system, scale, count))
        listener.begin("seeds", count)
        measured = []
        for seed in range(count):
            made = _measure(system, scale, seed, listener)
            measured.append(made)
            listener.advance("seeds", 1)
            announce(f"seed {seed} is finished after {time_words(made.duration_s)}: {seed + 1} of {count}")
        listener.finish("seeds")
        return _judged(system, scale, measured, ())
    if seeds is not None and seeds != system.budget.seeds:
        raise InputError(
            f"the record of {system.name} has the {system.budget.seeds} seeds of its budget, fixed before it was run; "
            f"leave --seeds out, or change [budget] in reproduction/{system.name}/claims.toml"
        )
    announce(_beginning(system, scale, system.budget.seeds))
    listener.begin("seeds", system.budget.seeds)
    result = None
    while result is None:
        result = advance_record(system, Path(record_in), scale=scale, progress=listener)
        listener.advance("seeds", 1)
        announce(f"{len(read_seeds(Path(record_in), system.name))} of {system.budget.seeds} seeds are there")
    listener.finish("seeds")
    return result


def advance_record(
    system: System | str | int, record_in: Path, *, scale: Scale = "small", progress: Progress | None = None
) -> Result | None:
    """Run the next seed of a record, or judge it when all are there; None while seeds are left.

    Raises:
        as :func:`reproduce`.
    """
    system = _runnable(system, scale)
    code, target = experiment_hash(system), record_in / f"{system.name}.json"
    seeds = read_seeds(record_in, system.name)
    spent = check_recordable(system, scale, target, seeds, code)
    finished = finished_seeds(seeds, system, scale, code)
    left = [seed for seed in system.budget.range if seed not in finished]
    if left:
        made = _measure(system, scale, left[0], progress or Silent())
        made.save(record_in)
        finished[made.seed] = made
    if len(left) > 1:
        return None
    result = _judged(system, scale, [finished[seed] for seed in system.budget.range], spent)
    write_atomically(target, canonical_json(result.model_dump(mode="json")))
    return result


def run_queue(
    systems: Sequence[System | str | int],
    record_in: Path,
    *,
    scale: Scale = "small",
    progress: Progress | None = None,
    finished: Callable[[str, Result | None], None] = lambda name, result: None,
) -> list[Result]:
    """Record several systems, one seed after the other: a seed of each in turn, at the lowest priority.

    It may be stopped at any time; the same call continues with the seeds that are not there yet. What may not be
    recorded is refused before anything is run. When an experiment fails, the others go on, and its error comes last.

    Args:
        systems: as :func:`reproduce` takes one.
        record_in: folder for the records.
        scale: small or full.
        progress: callback that receives progress updates.
        finished: is called after each seed with the name of the system, and its result once it is judged.
    """
    waiting = [_runnable(one, scale) for one in systems]
    for system in waiting:
        seeds, code = read_seeds(record_in, system.name), experiment_hash(system)
        check_recordable(system, scale, record_in / f"{system.name}.json", seeds, code)
    failed: dict[str, Exception] = {}
    os.nice(max(19 - os.nice(0), 0))
    results = []
    while waiting:
        system = waiting.pop(0)
        try:
            result = advance_record(system, record_in, scale=scale, progress=progress)
        except Exception as error:
            failed[system.name] = error
            continue
        finished(system.name, result)
        if result is None:
            waiting.append(system)
        else:
            results.append(result)
    if failed:
        told = "; ".join(f"{name}: {type(error).__name__}: {error}" for name, error in failed.items())
        raise SnellenError(f"{len(failed)} of {len(systems)} systems failed, the others were run: {told}") from next(
            iter(failed.values())
        )
    return results


def stamp_record(
    system: System | str | int, record_in: Path, *, beside: Path | None = None, progress: Progress | None = None
) -> Result:
    """Give a record the hash of the code as it is now, after one of its seeds, run again, gave the stored values.

    Another kind of processor rounds differently, and a long training turns that into other figures. There the code that
    was recorded is run as well, and both must give the same.

    Args:
        system: a system, or its name, number or acronym.
        record_in: folder of ``NAME.json``.
        beside: folder in which the code that was recorded has written its first seed on this machine; that stands for
            the stored one.
        progress: callback that receives progress updates.

    Raises:
        InputError: nothing is recorded, claims or budget changed, or a figure differs; the message names some. Or no
            such seed is there, or one of other code.
    """
    system = _runnable(system, "small")
    target = record_in / f"{system.name}.json"
    if not target.is_file():
        raise InputError(f"nothing is recorded in {target}")
    read_record(target)
    before = Result.model_validate_json(target.read_bytes())
    scale: Scale = "full" if before.scale == "full" else "small"
    seeds = {one.seed: one for one in read_seeds(record_in, system.name) if one.seed in before.seed_ids}
    if before.plan_hash not in system.plans(scale) or len(seeds) < len(before.seed_ids):
        raise InputError(f"the claims or the budget of {system.name} changed, or seeds are missing; record it again")
    import torch

    stored, threads = seeds[before.seed_ids[0]], torch.get_num_threads()
    if beside is not None:
        stored = _seed_of(beside, system.name, stored)
    torch.set_num_threads(int(stored.environment.get("threads", threads)))  # others give other last digits
    try:
        again = _measure(system, scale, stored.seed, progress or Silent())
    finally:
        torch.set_num_threads(threads)
    if differing := [name for name in {*again.figures, *stored.figures} if _differ(again, stored, name)]:
        raise InputError(
            f"seed {again.seed} of {system.name} gives other values than recorded, such as {', '.join(differing[:3])}; "
            f"record it again with fresh seeds"
            + (
                ""
                if beside is not None or stored.environment.get("processor") == again.environment["processor"]
                else "; or, as this is another processor than it was recorded on, run the recorded code as well: "
                "python scripts/stamp.py"
            )
        )
    now = {"code_hash": again.code_hash, "plan_hash": system.plan_hash(scale)}
    for one in seeds.values():
        one.model_copy(update=now).save(record_in)
    result = before.model_copy(update=now)
    write_atomically(target, canonical_json(result.model_dump(mode="json")))
    return result


def _seed_of(beside: Path, name: str, stored: SeedFile) -> SeedFile:
    """A seed of a record that the recorded code gave once more.

    Raises:
        InputError: it is not there, or of other code than was recorded.
    """
    found = next((one for one in read_seeds(beside, name) if one.seed == stored.seed), None)
    if found is None:
        raise InputError(f"{beside / name} holds no seed {stored.seed}; run the code that was recorded first")
    if found.code_hash != stored.code_hash:
        raise InputError(f"{beside / name} was made by other code than was recorded; take the commit before the change")
    return found


def _differ(one: SeedFile, other: SeedFile, name: str) -> bool:
    return name not in one.figures or name not in other.figures or one.figures[name] != other.figures[name]


def _beginning(system: System, scale: Scale, count: int) -> str:
    """What is about to be measured, and how long it may take."""
    seeds = "1 seed" if count == 1 else f"{count} seeds"
    least = {
        "small": f", planned for {system.budget.minutes:g} minutes each",
        "full": ", hours or days each (see its page)",
    }
    return f"{system.name} at scale {scale}: {seeds}{least.get(scale, '')}"


def _runnable(system: System | str | int, scale: Scale) -> System:
    if not isinstance(system, System):
        system = find_system(str(system))
    if system.experiment is None:
        raise InputError(
            f"system {system.number} ({system.acronym}) is not built yet, so there is nothing to run; "
            f"'snellen systems' shows what is"
        )
    if scale != "smoke" and not any(scale in claim.scales for claim in system.claims):
        raise InputError(f"system {system.number} states no claim at scale {scale!r}")
    if scale == "full":
        check_full_inputs(system.name)
    return system


def _measure(system: System, scale: Scale, seed: int, progress: Progress) -> SeedFile:
    """Run one seed."""
    assert system.experiment is not None, "whoever measures has looked"
    experiment = load_experiment(system, system.experiment)
    started, spent, code = time.perf_counter(), time.process_time(), experiment_hash(system)
    whose = f"the experiment of system {system.number}, seed {seed},"
    figures = checked_figures(experiment(scale, seed, progress), whose, named_figures(system, scale))
    if experiment_hash(system) != code:
        raise SnellenError(f"{whose} ran while its code was edited: nobody can say what was measured; run it again")
    return SeedFile.of(
        system,
        scale,
        seed,
        figures,
        code_hash=code,
        environment=_environment(),
        duration_s=time.perf_counter() - started,
        processor_s=time.process_time() - spent,
    )


def load_experiment(system: System, target: str) -> Callable[..., object]:
    """Import the experiment; an ImportError inside of a module that is there is its own.

    Raises:
        InputError: there is no such function.
    """
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


def _judged(system: System, scale: Scale, seeds: Sequence[SeedFile], spent: Sequence[int]) -> Result:
    """The claims of a scale over finished seeds."""
    assert system.experiment is not None, "whoever judges has looked"
    runs = [one.measured() for one in seeds]
    gates = tuple(judge_gate(gate, runs) for gate in system.gates if scale in gate.scales)
    closed = [gate.id for gate in gates if not gate.open]
    claims = [claim for claim in system.claims if scale in claim.scales]
    controls = sorted({name for claim in claims for name in claim.controls})
    environment: dict[str, str] = {}
    for one in seeds:
        for name, value in one.environment.items():
            known = environment.setdefault(name, value)
            environment[name] = known if value in known.split("; ") else f"{known}; {value}"
    experiment = load_experiment(system, system.experiment)
    return Result(
        system=system.name,
        number=system.number,
        title=system.title,
        scale=scale,
        seeds=len(seeds),
        seed_ids=tuple(one.seed for one in seeds),
        budget=system.budget,
        gates=gates,
        claims=tuple(judge_claim(claim, runs, closed) for claim in claims),
        claims_hash=system.claims_hash,
        plan_hash=system.plan_hash(scale),
        code_hash=seeds[0].code_hash,
        claim_hashes={claim.id: claim.hash for claim in system.claims},
        amendments={claim.id: claim.amended for claim in system.claims if claim.amended is not None},
        spent=tuple(spent),
        controls={name: _mean([mean_of(run[name]) for run in runs]) for name in controls},
        environment=environment,
        duration_s=round(sum(one.duration_s for one in seeds), 1),
        over_budget=tuple(one.seed for one in seeds if one.processor_s > 60 * system.budget.minutes),
        stand_ins=tuple(getattr(experiment, "stand_ins", {}).get(scale, ())),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _environment() -> dict[str, str]:
    import torch

    return {
        "snellen": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": str(torch.get_num_threads()),
        "cores": str(os.cpu_count()),
        "processor": processor(),
    }


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Kind of processor, and the instructions that torch uses on it: both decide last digits."""
    import torch

    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{named or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
