"""The command that measures a figure which an audit lacks."""

from __future__ import annotations

import shlex
from pathlib import Path

from snellen.auditing.checks import CHECKS, base_check
from snellen.auditing.compare.requirement import ACUITY, FINDINGS
from snellen.auditing.compare.run_record import RunRecord, read_json
from snellen.core.errors import InputError


def measuring_command(name: str, record: RunRecord, folder: Path | None) -> str | None:
    """The command that audits the same again, with the check that gives the figure."""
    group = name.partition(".")[0]
    task = str(record.report.model["task"])
    check = {ACUITY: "corruption", "class": base_check(task)}.get(group, group)
    done = [one.name for one in record.report.checks if one.status == "done"]
    if check not in CHECKS and group != FINDINGS:
        return None
    wanted = list(dict.fromkeys([*done, *([] if group == FINDINGS else [check])]))
    model, data = _references(folder)
    if not record.images.labelled.any():
        data = "LABELLED_DATA"  # the same images again would give nothing
    out = "RUN" if folder is None else f"{folder.resolve().name}-more"
    drawn = record.report.data.get("drawn_from")
    others = sorted({other for one in wanted if one in CHECKS for other in CHECKS[one]().compares_with})
    with_others = "".join(f" --{other} {other.upper()}" for other in others)
    limit = f" --limit {record.report.data['images']} --seed {record.plan['seed']}" if drawn else ""
    return f"snellen audit {model} {data} --checks {','.join(wanted)}{with_others}{limit} --out {shlex.quote(out)}"


def _references(folder: Path | None) -> tuple[str, str]:
    """How model and images of a run were named, where references alone do; else placeholders."""
    if folder is None or not (folder / "inputs.json").is_file():
        return "MODEL", "DATA"
    try:
        inputs = read_json(folder, "inputs.json")
        model, data = inputs["classifier"]["ref"], inputs["images"]["reference"]["ref"]
        plain = not any(value for key, value in inputs["classifier"].items() if key not in ("ref", "folder", "device"))
        plain = plain and not set(inputs["images"]["reference"]) - {"ref", "folder"}
    except (InputError, KeyError, TypeError, AttributeError):
        return "MODEL", "DATA"
    if not plain or not isinstance(model, str) or not isinstance(data, str):
        return "MODEL", "DATA"
    return shlex.quote(model), shlex.quote(data)
