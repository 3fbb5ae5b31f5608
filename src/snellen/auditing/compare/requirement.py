"""What is required of an audit: METRIC>=VALUE, parsed, checked for spelling, and judged by the end of the interval."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from snellen.auditing.by_label import figure_names_by_label
from snellen.auditing.checks import CHECKS
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.checks.check import Check
from snellen.core.errors import InputError, unknown_name

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport
    from snellen.core.classifier import Task
    from snellen.core.finding import Finding, Level

Relation = Literal[">=", "<=", ">", "<"]

#: Last part of the name of a metric whose estimate is meant, and not the end of its interval.
ESTIMATE = "value"

#: Names that are no metrics: ``findings.LEVEL`` counts findings, ``acuity.NUISANCE`` reads the eye chart.
FINDINGS, ACUITY = "findings", "acuity"

#: Every audit that judged an image with a label or labels, or a segmenter's answer with a mask, has one of these.
JUDGED = ("clean.accuracy", "segmentation.miou", "labels.right_decisions")

#: Levels from the worst on.
LEVELS: tuple[Level, ...] = ("severe", "moderate", "mild", "note")

#: What helps where an interval lies on both sides of a bound.
MORE_IMAGES = "; more images narrow the interval"

_FORM = re.compile(r"\s*(?P<name>[^<>=]+?)\s*(?P<relation>>=|<=|>|<)\s*(?P<bound>[^<>=\s]+)\s*")


@dataclass(frozen=True)
class Requirement:
    """A relation that a figure must satisfy.

    Attributes:
        name: of the figure: a metric, ``findings.LEVEL`` or ``acuity.NUISANCE``.
        relation: which.
        bound: to what.
        estimate: whether the estimate must satisfy it; else the end of the 95 % interval that is harder to satisfy.
    """

    name: str
    relation: Relation
    bound: float
    estimate: bool = False

    def __str__(self) -> str:
        return f"{self.name}{f'.{ESTIMATE}' * self.estimate}{self.relation}{self.bound:.12g}"

    def holds(self, value: float) -> bool:
        """Whether a number satisfies it; NaN never does."""
        return {
            ">=": value >= self.bound,
            "<=": value <= self.bound,
            ">": value > self.bound,
            "<": value < self.bound,
        }[self.relation]

    @property
    def wants_more(self) -> bool:
        """Whether larger is better."""
        return self.relation in (">=", ">")


@dataclass(frozen=True)
class Judgement:
    """Whether a requirement is met, and what was seen."""

    requirement: str
    met: bool
    reason: str


def parse_requirement(text: str) -> Requirement:
    """Read ``METRIC>=VALUE``.

    >>> parse_requirement("clean.accuracy >= 0.9")
    Requirement(name='clean.accuracy', relation='>=', bound=0.9, estimate=False)
    >>> str(parse_requirement("clean.accuracy.value>=0.9")), parse_requirement("findings.severe<=0").bound
    ('clean.accuracy.value>=0.9', 0.0)

    Raises:
        InputError: another form, a bound that is no finite number, or the estimate of a count.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise InputError(
            f"requirement {text!r}: expected METRIC>=VALUE with one of >=, <=, >, <, such as clean.accuracy>=0.9, "
            f"findings.severe<=0 or acuity.fog>=2 (in quotes, or the shell takes > and < for itself)"
        )
    try:
        bound = float(form["bound"])
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise InputError(f"requirement {text!r}: {form['bound']!r} is no finite number; write 0.9, not 90% or nan")
    name = form["name"]
    estimate = name.endswith(f".{ESTIMATE}")
    if estimate and name.startswith(f"{FINDINGS}."):
        raise InputError(
            f"requirement {text!r}: findings are counted, and a count has no interval; leave .{ESTIMATE} out: "
            f"{name.removesuffix(f'.{ESTIMATE}')}{form['relation']}{form['bound']}"
        )
    relation: Relation = form["relation"]  # type: ignore[assignment]
    return Requirement(name.removesuffix(f".{ESTIMATE}"), relation, bound, estimate)


def at_level(level: Level) -> Requirement:
    """No finding of this level or worse.

    Raises:
        UnknownNameError: no such level.
    """
    if level not in LEVELS:
        raise unknown_name("level", level, LEVELS)
    return Requirement(f"{FINDINGS}.{level}", "<=", 0.0)


def judge(requirements: Iterable[Requirement], report: AuditReport) -> list[Judgement]:
    """Judge each requirement; what was not measured fails with the reason.

    By default the end of the 95 % interval that is harder to satisfy decides: the lower one for ``>=`` and ``>``, the
    upper one for ``<=`` and ``<``. A classifier that in truth just misses the bound then passes in about 2.5 % of
    audits; by its estimate it would pass in half of them. Of shares of 10 to 2,000 independent images, by the binomial
    distribution itself: in at most 2.7 % for bounds of 0.9 or more, 3.0 % of 0.8 or more, 4.4 % of 0.5 or more.

    Findings are counted only where they could be found: a check that failed, or an audit without a labelled image,
    meets no requirement on their number. Checks that were skipped are named.
    """
    return [_judge(one, report) for one in requirements]


#: What becomes of a requirement when the images may be too few to say it.
Verdict = Literal["met", "not met", "undecided", "not measured"]


@dataclass(frozen=True)
class Standing:
    """Whether a requirement is met, is not, or undecided from these images, and what was seen."""

    verdict: Verdict
    reason: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


def stand(requirement: Requirement, report: AuditReport) -> Standing:
    """Judge a requirement by the whole 95 % interval: met or not met where both ends agree, else it is undecided.

    Either verdict is wrong in about 2.5 % of audits at most, as :func:`judge` describes. An estimate (``.value``) and a
    number of findings decide by themselves.
    """
    group, _, rest = requirement.name.partition(".")
    if group == FINDINGS:
        judged = _by_count(requirement, rest, report)
        if _unsought(report) is not None:
            return Standing("not measured", judged.reason)
        sought = ", ".join(check.name for check in report.checks if check.status == "done")
        counted = float(len(findings_from(rest, report)))
        return Standing("met" if judged.met else "not met", f"{judged.reason}; looked for by: {sought}", counted)
    seen = _seen(requirement, report)
    if seen is None:
        return Standing("not measured", _why(group, rest, report))
    value, low, high = seen
    words = _words(value, low, high)
    if requirement.estimate:
        return Standing("met" if requirement.holds(value) else "not met", f"estimate {words}", value, low, high)
    worse, better = (low, high) if requirement.wants_more else (high, low)
    if requirement.holds(worse):
        return Standing("met", words, value, low, high)
    if not requirement.holds(better):
        return Standing("not met", words, value, low, high)
    return Standing("undecided", f"{words} lies on both sides of {requirement.bound:g}", value, low, high)


def _judge(requirement: Requirement, report: AuditReport) -> Judgement:
    group, _, rest = requirement.name.partition(".")
    if group == FINDINGS:
        return _by_count(requirement, rest, report)
    seen = _seen(requirement, report)
    if seen is None:
        return Judgement(str(requirement), False, f"not measured: {_why(group, rest, report)}")
    value, low, high = seen
    end = value if requirement.estimate else low if requirement.wants_more else high
    if math.isinf(end):
        words = f"nothing bounds it: {_words(value, low, high)}"
    elif requirement.estimate:
        words = f"the estimate is {value:.4f}"
    else:
        words = f"{'lower' if requirement.wants_more else 'upper'} end {end:.4f} of {_words(value, low, high)}"
    met = requirement.holds(end)
    if not met and not requirement.estimate and requirement.holds(value):
        words += f"; the estimate alone would do{MORE_IMAGES}"
    return Judgement(str(requirement), met, words)


def _words(value: float, low: float, high: float) -> str:
    """A figure with its interval, which may have no upper end: an acuity beyond the last severity that was tested.

    >>> _words(2.5, 1.8, 3), _words(5, 4, math.inf), _words(math.inf, 4, math.inf)
    ('2.5000 (1.8000 to 3.0000)', '5.0000 (4.0000 or more)', '4.0000 or more')
    """
    interval = f"{low:.4f} or more" if math.isinf(high) else f"{low:.4f} to {high:.4f}"
    return interval if math.isinf(value) else f"{value:.4f} ({interval})"


def findings_from(level: str, report: AuditReport) -> list[Finding]:
    """Findings of a level or worse; none of a level that does not exist."""
    counted = LEVELS[: LEVELS.index(level) + 1] if level in LEVELS else ()
    return [finding for finding in report.findings if finding.whole_level in counted]


def _by_count(requirement: Requirement, level: str, report: AuditReport) -> Judgement:
    if level not in LEVELS:
        return Judgement(str(requirement), False, f"no level is called {level!r}; these are {', '.join(LEVELS)}")
    found = findings_from(level, report)
    words = f"{len(found)} {'finding' if len(found) == 1 else 'findings'} of this level or worse"
    if found:
        words += ": " + "; ".join(finding.key for finding in found[:5]) + "; …" * (len(found) > 5)
    missing = _unsought(report)
    skipped = [check.name for check in report.checks if check.status == "skipped"]
    if skipped:
        words += f"; skipped: {', '.join(skipped)}"
    if missing is not None:
        return Judgement(str(requirement), False, f"{missing}; {words}")
    return Judgement(str(requirement), requirement.holds(len(found)), words)


def _unsought(report: AuditReport) -> str | None:
    """Why a number of findings, zero above all, says nothing; None when it does."""
    failed = [f"{check.name} ({check.reason})" for check in report.checks if check.status == "failed"]
    if failed:
        return f"not known, because checks failed: {'; '.join(failed)}"
    if not any(name in report.metrics for name in JUDGED):
        return "not known, because no labelled image was judged"
    return None


def rests_on(requirement: str, check: str) -> bool:
    """Whether a requirement cannot be met when a check failed: one on findings, or on a figure of the check.

    >>> [rests_on(one, "corruption") for one in ("findings.note<=0", "acuity.fog>=2", "clean.accuracy>=0")]
    [True, True, False]
    """
    group = requirement.partition(".")[0]
    return group in (FINDINGS, check) or (group == ACUITY and check == "corruption")


def _seen(requirement: Requirement, report: AuditReport) -> tuple[float, float, float] | None:
    """The value of a figure with both ends of its interval; None where the audit has none."""
    group, _, rest = requirement.name.partition(".")
    if group == ACUITY:
        return _acuity(requirement, rest, report)
    figure = report.metrics.get(requirement.name)
    return None if figure is None else (figure.value, figure.low, figure.high)


def _acuity(requirement: Requirement, nuisance: str, report: AuditReport) -> tuple[float, float, float] | None:
    columns = () if report.eye_chart is None else report.eye_chart.columns
    acuity = next((column.acuity for column in columns if column.name == nuisance), None)
    if acuity is None:
        return None
    # The last line that was tested can be read: how much further, nobody looked.
    high = math.inf if acuity.censored else acuity.high
    value = math.inf if acuity.censored and not requirement.wants_more else acuity.value
    return value, acuity.low, high


def _why(group: str, rest: str, report: AuditReport) -> str:
    """Why the audit has no such figure."""
    check = "corruption" if group == ACUITY else group
    status = next((one for one in report.checks if one.name == check), None)
    if status is None:
        return f"the check {check} did not run"
    if status.status != "done":
        why = f"failed: {status.reason}" if status.status == "failed" else f"was skipped, because it {status.reason}"
        return f"the check {check} {why}"
    what = (
        f"acuity for {rest}" if group == ACUITY else f"figure of this name ({', '.join(_of(group, report)) or 'none'})"
    )
    return f"the check {check} ran, but gave no {what}"


def _of(check: str, report: AuditReport) -> list[str]:
    names = [name for name in report.metrics if name.partition(".")[0] == check]
    return names if len(names) <= 6 else [*names[:6], "…"]


def check_names(
    requirements: Sequence[Requirement],
    checks: Sequence[Check],
    task: Task = "single",
    labels: Sequence[str] | None = None,
) -> None:
    """Refuse a requirement on what this audit cannot measure, before it runs.

    Args:
        requirements: of the audit.
        checks: that it runs.
        task: of the model.
        labels: of a model of several labels an image; None: not known yet, and figures of labels are let through.

    >>> from snellen.auditing.compare.requirement import parse_requirement
    >>> from snellen.auditing.checks.clean import Clean
    >>> check_names([parse_requirement("clean.acuracy>=0.9")], [Clean()])
    Traceback (most recent call last):
    snellen.core.errors.InputError: requirement 'clean.acuracy>=0.9': no figure of this audit has that name; did you
    mean 'clean.accuracy' or 'clean.balanced_accuracy' or 'clean.cost'?

    Raises:
        InputError: a name that is none, with the nearest ones, or one of a check that does not run.
    """
    running = {check.name: check for check in checks}
    acuities = [kind for one in checks if isinstance(one, CommonCorruptions) for kind in one.chosen]
    named = {check.name: check.figure_names() for check in checks}
    if task == "multilabel":
        named = {check.name: None if labels is None else figure_names_by_label(check, labels) for check in checks}
        acuities = []
    names = {name for found in named.values() for name in found or ()}
    names |= {f"{ACUITY}.{kind}" for kind in acuities} | {f"{FINDINGS}.{level}" for level in LEVELS}
    for requirement in requirements:
        name = requirement.name
        group = name.partition(".")[0]
        if name in names or (group in running and named[group] is None):
            continue
        owner = "corruption" if group == ACUITY else group
        if owner in CHECKS and owner not in running:
            raise InputError(
                f"requirement {str(requirement)!r}: the check {owner} does not run in this audit; it runs "
                f"{', '.join(running)}"
            )
        near = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"these are: {_listed(sorted(names))}"
        raise InputError(f"requirement {str(requirement)!r}: no figure of this audit has that name; {hint}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
