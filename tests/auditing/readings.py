"""What checks conclude from, made by hand."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from snellen.auditing.concluding import judge
from snellen.checks.check import Check, CheckInput, CheckResult
from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding
from snellen.core.preprocessing import Preprocessing


def reading(evidence: Evidence, clean: Evidence, names: Sequence[str], **more: object) -> CheckInput:
    """A reading of evidence by a check; the classifier is one that nobody asks for scores."""
    classifier = Classifier(nn.Flatten(), class_names=names, preparation=Preprocessing(size=(8, 8)), name="m")
    return CheckInput(evidence=evidence, images=PerImage.of(clean), classifier=classifier, **more)


def conclusion(check: Check, evidence: Evidence, clean: Evidence, names: Sequence[str]) -> CheckResult:
    """What a check concludes."""
    return check.conclude(reading(evidence, clean, names))


def findings(check: Check, evidence: Evidence, clean: Evidence, names: Sequence[str]) -> list[Finding]:
    """What an audit of this check alone would tell, ranked."""
    return judge([check], {check.name: conclusion(check, evidence, clean, names)})[0]


def by_kind(check: Check, evidence: Evidence, clean: Evidence, names: Sequence[str]) -> dict[str, Finding]:
    """The most harmful finding of each kind."""
    return {finding.kind: finding for finding in reversed(findings(check, evidence, clean, names))}
