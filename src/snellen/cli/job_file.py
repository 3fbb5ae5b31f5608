"""``snellen audit audit.toml``: what the file says stands for the defaults of the options, which win over it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from snellen.auditing.effort import Effort
    from snellen.auditing.job import AuditJob

#: Key of the file → parameter of the command.
_RENAMED = {"threats": "threat"}

#: Keys that are laid under what options say, item by item, and keys that are arguments.
_ELSEWHERE = frozenset({"model", "columns", "settings", "gate"})


def read_job_file(context: typer.Context, model: str | None) -> str | None:
    """Take what a file says for the defaults of all options, where the model is named by such a file."""
    if context.resilient_parsing or model is None or not model.lower().endswith(".toml"):
        return model
    from snellen.auditing.job import read_job

    job = read_job(model)
    context.obj = job
    context.default_map = _options_of(job)
    return job.model


def _options_of(job: AuditJob) -> dict[str, Any]:
    """Values of options by parameter, for the keys that the file has."""
    options = {_RENAMED.get(key, key): getattr(job, key) for key in job.model_fields_set - _ELSEWHERE}
    options |= {key: getattr(job.gate, key) for key in job.gate.model_fields_set}
    if job.model_args:
        options["model_args"] = [json.dumps(job.model_args)]
    # As they are written on the command line.
    for key, between in (("size", "x"), ("mean", ","), ("std", ",")):
        if (value := getattr(job, key)) is not None:
            options[key] = between.join(map(str, value)) if isinstance(value, tuple) else str(value)
    if isinstance(job.checks, tuple):
        options["checks"] = ",".join(job.checks)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


@dataclass(frozen=True)
class Choice:
    """Which checks run, and what columns mean: by the file, and by options that win over it."""

    checks: str | None
    effort: Effort | None
    settings: Mapping[str, Mapping[str, object]]
    columns: Mapping[str, str | Sequence[str]] | None


def under_options(context: typer.Context, given: Choice) -> Choice:
    """What options say, laid over what the file says; unchanged where there is no file.

    Names of checks on the command line win over an effort of the file, and the other way round. Settings of the file
    for checks that then do not run are left out.
    """
    job: AuditJob | None = context.obj
    if job is None:
        return given
    from snellen.auditing.checks import base_check
    from snellen.auditing.effort import chosen_checks, names_of

    checks, effort = given.checks, given.effort
    plain = checks is not None and not checks.lstrip().startswith(("+", "-"))
    if plain and written(context, "checks") and not written(context, "effort"):
        effort = None
    elif plain and written(context, "effort") and not written(context, "checks"):
        checks = None
    held = dict(job.settings)
    if written(context, "checks") or written(context, "effort"):
        task = job.decides
        running = [*names_of(chosen_checks(checks, effort, task=task)), base_check(task)]
        held = {check: fields for check, fields in held.items() if check in running}
    every = dict.fromkeys((*held, *given.settings))
    settings = {check: {**held.get(check, {}), **given.settings.get(check, {})} for check in every}
    return Choice(checks, effort, settings, {**job.columns, **(given.columns or {})} or None)


def written(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line; what a file says is a default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
