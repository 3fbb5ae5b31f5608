"""What will be tried against which finding, in which order: made before anything is trained, and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.auditing.report import AuditReport
from snellen.checks.check import Check
from snellen.checks.treatments import PLAIN, ladder, set_aside, untreated
from snellen.core import index
from snellen.core.classifier import Classifier, Task
from snellen.core.errors import InputError, MissingExtraError, import_extra, unknown_name
from snellen.core.finding import Finding
from snellen.core.method import Method, build
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.treatments.treatment import FineTuning, Patient, Stage, Treatment
from snellen.models.classifiers.trainable import PreparedNetwork, has_weights

#: Why a treatment is set aside, in words that follow its name.
NO_BETTER = "was no better than plain fine-tuning where it was measured (--treatment tries it all the same)"

#: The check that measures clean images, by task.
CLEAN: Mapping[Task, str] = {"single": "clean", "multilabel": "labels"}

#: Treatments as a caller names them.
Named = Sequence[str | Mapping[str, Any] | Method]


@dataclass(frozen=True, eq=False)
class Prescription:
    """What is tried against the findings of one kind.

    Attributes:
        kind: of the findings.
        findings: of that kind, worst first.
        ladder: treatments, in the order in which they are tried; the next is tried where one does not help enough. None
            of them: nothing can be done here.
        refused: treatments that treat the kind and cannot treat this classifier, with the reason.
        obstacle: why no treatment of this kind could be judged; empty where it can.
        several: whether the model gives several labels an image.
        named: whether the user named these treatments, so that none of them is left out for its costs.
    """

    kind: str
    findings: tuple[Finding, ...]
    ladder: tuple[Treatment, ...]
    refused: Mapping[str, str]
    obstacle: str = ""
    several: bool = False
    named: bool = False

    @property
    def reason(self) -> str:
        """Why nothing can be done, where the ladder is empty."""
        if self.obstacle:
            return self.obstacle
        if self.refused:
            return "; ".join(f"{name} {why}" for name, why in self.refused.items())
        known = untreated(self.kind, several=self.several)
        return known or f"no treatment is known for findings of the kind {self.kind}"


@dataclass(frozen=True, eq=False)
class TreatmentPlan:
    """Prescriptions, and what the plan rests on.

    Attributes:
        prescriptions: by kind of finding, worst first.
        notes: where validation and proving images come from.
    """

    prescriptions: tuple[Prescription, ...]
    notes: tuple[str, ...] = ()

    @property
    def treated(self) -> tuple[Finding, ...]:
        """Findings that something is tried against."""
        return tuple(finding for one in self.prescriptions if one.ladder for finding in one.findings)

    @property
    def left_out(self) -> list[str]:
        """A line for each reason why treatments of these kinds are not tried, with their names."""
        names: dict[str, dict[str, None]] = {}
        for one in self.prescriptions:
            for name, why in one.refused.items() if one.ladder else ():
                names.setdefault(why, {})[name] = None
        return [f"Not tried: {', '.join(found)} ({why})." for why, found in names.items()]

    def lines(self) -> list[str]:
        """The plan as text, a line for each kind of finding and each note."""
        found = []
        for one in self.prescriptions:
            named = one.findings[0].title + (f" (and {len(one.findings) - 1} more)" if len(one.findings) > 1 else "")
            tried = ", then ".join(treatment.words for treatment in one.ladder) or f"nothing: {one.reason}"
            found.append(f"{named}: {tried}")
        return [*found, *self.left_out, *self.notes]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def chosen_findings(report: AuditReport, names: Sequence[str]) -> tuple[Finding, ...]:
    """The findings that are treated: those of the kinds or keys that are named, else all that are more than a note.

    Raises:
        InputError: the report has none to treat.
        UnknownNameError: a name that no finding has.
    """
    if not names:
        found = tuple(finding for finding in report.findings if finding.level != "note")
        if not found:
            raise InputError(
                f"the audit of {report.model['name']} found nothing that is more than a note or than healthy "
                f"classifiers lose; name a finding to treat it all the same: "
                f"{', '.join(finding.key for finding in report.findings) or 'there is none'}"
            )
        return found
    known = [*dict.fromkeys([*(one.kind for one in report.findings), *(one.key for one in report.findings)])]
    for name in names:
        if name not in known:
            raise unknown_name("finding of this audit", name, known)
    return tuple(finding for finding in report.findings if finding.kind in names or finding.key in names)


def prescribed(
    findings: Sequence[Finding],
    network: PreparedNetwork | None,
    patient: Patient,
    named: Named | None,
    obstacles: Mapping[str, str] | None = None,
) -> tuple[Prescription, ...]:
    """Find the treatments of every kind.

    Args:
        findings: that are treated.
        network: the copy that would be treated; None: only predictions of the classifier are known.
        patient: findings and images.
        named: only these treatments, in this order; None: all that treat the kind, the cheapest first, and after the
            cheapest fine-tuning the same for longer.
        obstacles: kinds of finding that cannot be measured again, with the reason: see :func:`obstacles_of`.

    Raises:
        InputError: a named treatment treats none of the findings.
    """
    kinds = dict.fromkeys(finding.kind for finding in findings)
    several = patient.classifier.task == "multilabel"
    wanted = None if named is None else [_treatment(one) for one in named]
    unfit = [one.name for one in wanted or () if one.several != several]
    if unfit:
        what = "several labels" if several else "one class"
        raise InputError(f"{', '.join(unfit)} cannot treat a model of {what} an image")
    idle = [one.name for one in wanted or () if not set(one.treats) & set(kinds)]
    if idle:
        raise InputError(f"{', '.join(idle)} treats none of these findings: {', '.join(kinds)}")
    found = []
    for kind in kinds:
        able = list[Treatment]()
        refused = dict.fromkeys(sorted(set_aside(kind)) if wanted is None and not several else (), NO_BETTER)
        if kind in (obstacles or {}):
            found.append(_untreatable(kind, findings, (obstacles or {})[kind]))
            continue
        for one in _all_of(kind, several) if wanted is None else [one for one in wanted if kind in one.treats]:
            why = _refusal(one, network, patient)
            if why is None:
                able.append(one)
            else:
                refused[one.name] = why
        if wanted is None:
            able = _with_longer(able, patient)
        own = tuple(one for one in findings if one.kind == kind)
        found.append(Prescription(kind, own, tuple(able), refused, several=several, named=wanted is not None))
    if wanted is not None and not any(one.ladder for one in found):
        reasons = "; ".join(dict.fromkeys(one.reason for one in found))
        raise InputError(f"none of the named treatments can be tried: {reasons}")
    return tuple(found)


def _with_longer(ladder: Sequence[Treatment], patient: Patient) -> list[Treatment]:
    """The same with the cheapest fine-tuning twice, for longer right after itself.

    What helps, and not enough, most often helps enough in more steps; so that comes before what was not tried at all.
    """
    first = next((one for one in ladder if isinstance(one, FineTuning) and one.name != PLAIN), None)
    found = list(ladder)
    if first is not None:
        found.insert(found.index(first) + 1, first.longer(patient))
    return found


def affected_checks(checks: Sequence[Check], findings: Sequence[Finding], folder: Path | None = None) -> list[Check]:
    """The checks that measure these findings, with the parameters of the audit, and no kind of damage beyond them.

    A check that searches, and can try what an earlier audit found instead, does that alone: another search finds
    something else, and says little about a treatment. See :func:`searching` for the last audit.

    Args:
        checks: of the audit.
        findings: that are treated.
        folder: run directory of the audit, whose discoveries are tried.
    """
    kinds = {finding.kind for finding in findings}
    names = {check.name for check in index.checks().values() if kinds & set(check.finds)}
    found = []
    for check in checks:
        if check.name not in CLEAN.values() and check.name not in names:
            continue
        if isinstance(check, CommonCorruptions):
            damaged = tuple(
                kind
                for finding in findings
                if finding.kind == "corruption"
                for kind in benchmark(check.benchmark).of_subject(finding.subject, check.chosen)
            )
            check = check.model_copy(update={"kinds": damaged, "also": ()})
        if folder is not None and _tries_again(check):
            check = check.model_copy(update={"earlier": str(folder), "search": False})
        found.append(check)
    return found


def searching(checks: Sequence[Check]) -> list[Check]:
    """The same checks for the treated classifier, which may hold something that no audit found yet: with searches."""
    return [one.model_copy(update={"search": True}) if _tries_again(one) else one for one in checks]


def obstacles_of(checks: Sequence[Check], classifier: Classifier, folder: Path | None) -> dict[str, str]:
    """Kinds of finding that cannot be measured again because the audit kept nothing to try, with the reason.

    Args:
        checks: of the audit.
        classifier: that was audited.
        folder: run directory of the audit; None where it kept none.
    """
    kinds, found = {one.name: one.finds for one in index.checks().values()}, dict[str, str]()
    for check in checks:
        if not _tries_again(check):
            continue
        why = "the audit kept no run directory, whose discoveries are tried again: audit with out=FOLDER (--out FOLDER)"
        try:
            if folder is not None:
                check.model_copy(update={"earlier": str(folder), "search": False}).resolved(classifier)
                continue
        except InputError as error:
            why = str(error)
        found |= dict.fromkeys(kinds.get(check.name, ()), why)
    return found


def _tries_again(check: Check) -> bool:
    """Whether a check can try what an earlier audit found, without a search of its own."""
    return {"earlier", "search"} <= type(check).model_fields.keys()


def _untreatable(kind: str, findings: Sequence[Finding], why: str) -> Prescription:
    return Prescription(kind, tuple(one for one in findings if one.kind == kind), (), {}, why)


def _all_of(kind: str, several: bool) -> list[Treatment]:
    return [_treatment(rung.name) for rung in ladder(kind, several=several)]


def _treatment(named: str | Mapping[str, Any] | Method) -> Treatment:
    made = build("treatments", named)
    assert isinstance(made, Treatment)
    return made


def _refusal(treatment: Treatment, network: PreparedNetwork | None, patient: Patient) -> str | None:
    if treatment.trains and patient.train is None:
        return "needs training images (--train DATA)"
    if network is None:
        return f"needs the model, and of {patient.classifier.name} only predictions are known"
    if treatment.stage >= Stage.SCORES and patient.classifier.output == "labels":
        return f"needs scores, and {patient.classifier.name} gives decisions only"
    if treatment.stage < Stage.SCORES and not has_weights(network):
        return f"needs weights that can be trained, and {patient.classifier.name} has none here"
    try:
        for package, extra in treatment.packages.items():
            import_extra(package, extra, treatment.name)
    except MissingExtraError as error:
        return str(error).removeprefix(f"{treatment.name} ")
    return treatment.refusal(network, patient)
