"""What became of one requirement with one audited model: verdict, interval, and what would decide or measure it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from snellen.auditing.checks import CHECKS, base_check
from snellen.auditing.compare.difference import RESAMPLES
from snellen.auditing.compare.not_worse import not_worse
from snellen.auditing.compare.pairing import pair_runs
from snellen.auditing.compare.requirement import ACUITY, FINDINGS, Requirement, Standing, Verdict, stand
from snellen.auditing.compare.requirements_file import WrittenRequirement
from snellen.auditing.compare.run_record import RunRecord, read_json
from snellen.core.errors import InputError, SnellenError
from snellen.metrics.sample_size import MOST, Z

#: Share of audits in which so many more images would decide.
_POWER = 0.9


class RequiredCell(BaseModel):
    """What became of one requirement with one model.

    Attributes:
        verdict: met, not met, undecided or not measured.
        value: the estimate; null where it was not measured.
        high: upper end of the 95 % interval.
        reason: in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict
    quantity: Literal["figure", "loss"] = Field("figure", description="what the value is: the figure, or its loss")
    value: float | None = None
    low: float | None = Field(None, description="lower end of the 95 % interval; null where there is none")
    high: float | None = None
    reason: str
    images: int | None = Field(None, description="images that would decide in nine of ten audits, if the value is true")
    command: str | None = Field(None, description="what measures a figure that was not measured")


def required_cell(
    one: WrittenRequirement, record: RunRecord, folder: Path | None, baselines: Mapping[str, RunRecord]
) -> RequiredCell:
    """Judge one audited model by one requirement.

    Args:
        one: the requirement. record: the audit. folder: where it lies, for commands.
        baselines: audits to which margins refer, by their folder as the requirement names it.
    """
    relation, margin = one.relation, one.margin
    if relation is None and margin is not None and one.baseline is not None:
        return _against(one.metric.strip(), margin, (baselines[one.baseline], Path(one.baseline)), (record, folder))
    assert relation is not None
    found = stand(relation, record.report)
    command = measuring_command(relation.name, record, folder) if found.verdict == "not measured" else None
    more = _images_that_decide(relation, found, len(record.images)) if found.verdict == "undecided" else None
    return RequiredCell(
        verdict=found.verdict,
        value=_finite(found.value),
        low=_finite(found.low),
        high=_finite(found.high),
        reason=found.reason,
        images=more,
        command=command,
    )


def _against(
    name: str, margin: float, baseline: tuple[RunRecord, Path], audited: tuple[RunRecord, Path | None]
) -> RequiredCell:
    record = audited[0]
    try:
        (found,) = not_worse(pair_runs(baseline[0], record), {name: margin}, resamples=RESAMPLES)
    except SnellenError as error:
        return RequiredCell(verdict="not measured", quantity="loss", reason=str(error))
    more = None
    if found.verdict == "undecided" and found.loss is not None:
        standing = Standing("undecided", found.words, found.loss, found.low, found.high)
        more = _images_that_decide(Requirement(name, "<", margin), standing, len(record.images))
    return RequiredCell(
        verdict=found.verdict,
        quantity="loss",
        images=more,
        value=None if found.loss is None else found.loss + 0.0,  # and no negative zero
        low=found.low,
        high=found.high,
        reason=found.words,
        command=_lacking(name, (audited, baseline)) if found.verdict == "not measured" else None,
    )


def _lacking(name: str, runs: Sequence[tuple[RunRecord, Path | None]]) -> str | None:
    """The command that measures a figure in the first of several runs that lacks it; None where none does."""
    for record, folder in runs:
        measured = record.images.labelled.any() if name.startswith("class.") else name in record.report.metrics
        if not measured:
            return measuring_command(name, record, folder)
    return None


def _images_that_decide(relation: Requirement, found: Standing, images: int) -> int | None:
    """Images with which the interval would leave the bound in nine of ten audits, if the estimate is the truth."""
    if found.value is None or found.low is None or found.high is None:
        return None
    room = abs(found.value - relation.bound)
    above = found.value > relation.bound
    error = (found.value - found.low if above else found.high - found.value) / Z
    if room <= 0 or not math.isfinite(error) or not math.isfinite(room):
        return None
    needed = images * (error * (Z + NormalDist().inv_cdf(_POWER)) / room) ** 2
    if not needed < MOST:
        return None
    digits = 10 ** max(math.floor(math.log10(max(needed, 1))) - 1, 0)
    return max(math.ceil(needed / digits) * digits, images + 1)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def measuring_command(name: str, record: RunRecord, folder: Path | None) -> str | None:
    """The command that audits the same again, with the check that gives the figure."""
    group = name.partition(".")[0]
    task = str(record.report.model["task"])
    check = {ACUITY: "corruption", "class": base_check(task)}.get(group, group)
    done = [one.name for one in record.report.checks if one.status == "done"]
    if check not in CHECKS and group != FINDINGS:
        return None
    if name == "selective.coverage" and check in done and record.images.labelled.any():
        return None  # these images leave every share possible, and would again
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
