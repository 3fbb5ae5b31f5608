"""Options that let an audit fail a pipeline: read before the audit runs, judged and shown after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from snellen.cli.text import harmless
from snellen.core.errors import InputError, unknown_name
from snellen.core.listed_names import listed_names

if TYPE_CHECKING:
    from snellen.auditing.compare.gate import Gate
    from snellen.auditing.compare.requirement import Requirement
    from snellen.auditing.compare.run_record import RunRecord
    from snellen.auditing.report import AuditReport
    from snellen.checks.check import Check
    from snellen.core.classifier import Classifier, Task
    from snellen.core.finding import Level
    from snellen.core.images import ImageSet

#: Documented in the README beside the other exit codes.
EXIT_GATE = 3


class LevelOption(StrEnum):
    """Levels of findings, from the worst on."""

    severe = "severe"
    moderate = "moderate"
    mild = "mild"
    note = "note"


@dataclass(frozen=True)
class GateOptions:
    """Requirements of an audit.

    Attributes:
        requirements: those of --require and --fail-on.
        baseline: the run directory of --baseline.
        junit: the file of --junit.
        sarif: the file of --sarif.
        level: of --fail-on; findings of this level or worse get a case of their own in these files.
        margins: of --not-worse-than, by figure.
    """

    requirements: tuple[Requirement, ...] = ()
    baseline: Path | None = None
    junit: Path | None = None
    sarif: Path | None = None
    level: LevelOption = LevelOption.moderate
    margins: Mapping[str, float] = field(default_factory=dict)

    @property
    def given(self) -> bool:
        """Whether there is anything to judge or to write."""
        return bool(self.requirements) or any((self.baseline, self.junit, self.sarif))


def read_gate_options(
    require: Sequence[str] | None,
    fail_on: LevelOption | None,
    baseline: Path | None,
    junit: Path | None,
    not_worse_than: Sequence[str] | None = None,
    sarif: Path | None = None,
) -> GateOptions:
    """Parse the options; imports nothing heavy.

    >>> [str(one) for one in read_gate_options(["clean.accuracy >= 0.9"], LevelOption.severe, None, None).requirements]
    ['clean.accuracy>=0.9', 'findings.severe<=0']

    Raises:
        InputError: a requirement of another form, or a file that cannot be written.
    """
    from snellen.auditing.compare.requirement import at_level, parse_requirement

    margins: dict[str, float] = {}
    if not_worse_than:
        from snellen.auditing.compare.margins import parse_margins

        margins = parse_margins(not_worse_than)
        if baseline is None:
            raise InputError("--not-worse-than is about an earlier audit: name its run directory with --baseline DIR")
    requirements = [parse_requirement(text) for text in require or ()]
    if fail_on is not None:
        requirements.append(at_level(fail_on.value))
    for option, file, suffix in (("--junit", junit, "xml"), ("--sarif", sarif, "sarif")):
        if file is not None and file.is_dir():
            raise InputError(f"{option} {file} is a folder; name a file, such as {file / f'snellen.{suffix}'}")
    return GateOptions(tuple(requirements), baseline, junit, sarif, fail_on or LevelOption.moderate, margins)


def check_gate_options(
    options: GateOptions, checks: Sequence[Check], out: Path, task: Task = "single"
) -> RunRecord | None:
    """Refuse before the audit runs what would only fail after it: misspelled names, a baseline that is none.

    Returns:
        The baseline, read before the audit: an audit into the same folder would otherwise be compared with itself.

    Raises:
        InputError: what is wrong, and how to mend it.
    """
    from snellen.auditing.compare.requirement import JUDGED
    from snellen.auditing.compare.run_record import RunRecord

    check_gate_names(options, checks, task)
    if options.baseline is None:
        return None
    if out.resolve() == options.baseline.resolve():
        raise InputError(f"--baseline {options.baseline} is also the folder of this audit; name another --out")
    baseline = RunRecord.read(options.baseline)
    if not any(name in baseline.report.metrics for name in JUDGED):
        raise InputError(
            f"--baseline {options.baseline} judged no labelled image: nothing can be compared with it; audit labelled "
            f"images"
        )
    for name in options.margins:
        known = [f"class.{one}.accuracy" for one in baseline.class_names]
        if name.startswith("class.") and name not in known:
            raise unknown_name("figure of --not-worse-than", name, known)
    return baseline


def check_gate_names(
    options: GateOptions, checks: Sequence[Check], task: Task, labels: Sequence[str] | None = None
) -> None:
    """Refuse what is required of a figure that this audit does not give, and a margin of one without a better side.

    Args:
        options: what is required.
        checks: that run. task: of the model.
        labels: of a model of several labels an image; None: not known yet.
    """
    from snellen.auditing.compare.requirement import Requirement, check_names

    for name, margin in options.margins.items():
        if not name:
            continue
        from snellen.auditing.compare.better_side import direction

        if not direction(name):
            raise InputError(f"--not-worse-than {name}={margin:g}: this figure has no better side; it cannot be worse")
        if not name.startswith("class."):
            check_names([Requirement(name, "<=", margin)], checks, task, labels)
    check_names(options.requirements, checks, task, labels)


def check_baseline(baseline: RunRecord | None, classifier: Classifier, images: ImageSet) -> None:
    """Refuse a baseline of other classes or another task, and images without labels, before the audit runs.

    Raises:
        InputError: what differs.
    """
    from snellen.auditing.compare.pairing import check_alike

    if baseline is None:
        return
    check_alike(baseline, classifier.class_names, classifier.task, names=("baseline", "model"))
    if not images.has_labels and classifier.task != "segment":
        raise InputError(
            f"{images.name} has no labels: nothing can be compared with the baseline; name labelled images, or leave "
            f"--baseline out"
        )


def judge_audit(
    options: GateOptions,
    report: AuditReport,
    baseline: RunRecord | None,
    folder: Path,
    *,
    model: str,
    data: str,
) -> Gate:
    """Judge a finished audit, and write the files of ``--junit`` and ``--sarif``.

    Args:
        options: what is required.
        report: of the audit.
        baseline: an earlier audit.
        folder: run directory.
        model: reference of the model, at whose file SARIF shows what is found.
        data: the same of the images.
    """
    from snellen.auditing.compare.gate import Gate, gate

    if not options.given:
        return Gate()
    from snellen.auditing.compare.compare import compare_records
    from snellen.auditing.compare.gate import junit_xml
    from snellen.auditing.compare.run_record import RunRecord
    from snellen.auditing.compare.sarif import place_of, sarif
    from snellen.core.run import write_atomically

    comparison = (
        None if baseline is None else compare_records(baseline, RunRecord.read(folder), not_worse_than=options.margins)
    )
    found = gate(report, options.requirements, comparison)
    if report.ledger is not None and (options.requirements or baseline is not None):
        required = [str(one) for one in options.requirements]
        required += [f"{name} {margin:g}" for name, margin in options.margins.items()]
        required += [] if baseline is None else [f"baseline {baseline.report.model.get('identity')}"]
        report.ledger.enter_gate(required, passed=found.passes)
    level: Level = options.level.value
    written: dict[Path, bytes] = {}
    if options.junit is not None:
        written[options.junit] = junit_xml(report, found, level=level)
    if options.sarif is not None:
        written[options.sarif] = sarif(report, found, level=level, model=place_of(model), data=place_of(data))
    for file, content in written.items():
        try:
            write_atomically(file, content)
        except OSError as error:
            raise InputError(f"cannot write {file}: {error.strerror or error}") from error
    return found


def show_gate(gate: Gate, *, on_error_stream: bool) -> None:
    """Print what was required and what came out, one line each; on standard error beside JSON."""
    if not gate.judgements and gate.comparison is None:
        return
    from snellen.auditing.compare.better_side import direction

    lines = [f"{'met    ' if one.met else 'not met'}  {one.requirement}: {one.reason}" for one in gate.judgements]
    if gate.comparison is not None:
        comparison = gate.comparison
        how = "each image with itself" if comparison.paired else "not paired, since the data differ"
        for one in comparison.not_worse:
            lines.append(f"{'met    ' if one.verdict == 'met' else 'not met'}  {one}: {one.words}")
        verdict = "       " if comparison.not_worse else "not met" if comparison.losses else "met    "
        lines.append(
            f"{verdict}  baseline {comparison.first.model}: "
            f"{len(comparison.losses)} of {comparison.tested['figures']} figures worse, {len(comparison.gains)} better "
            f"({comparison.shared} images, {how})"
        )
        idle = [one for one in comparison.figures if one.verdict == "not compared" and direction(one.name)]
        if idle:
            named = [f"{one.name} ({one.reason})" for one in idle]
            lines.append(f"         not compared: {listed_names(named, 3, joined='; ', before_more='; ')}")
        if not comparison.not_worse:
            lines += [f"         {failure}" for failure in gate.failures[sum(not one.met for one in gate.judgements) :]]
    typer.echo("", err=on_error_stream)
    for line in lines:
        typer.echo(harmless(line), err=on_error_stream)
