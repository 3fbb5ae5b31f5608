"""The outcome of a gate as SARIF 2.1.0, the form in which code hosts and editors show results of analyses.

OASIS Standard, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0", 2020.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

from snellen.auditing.compare.gate import BASELINE, NOT_WORSE, REQUIREMENT, Gate
from snellen.auditing.compare.requirement import findings_from
from snellen.auditing.legal_text import legal_text
from snellen.auditing.report import AuditReport
from snellen.core.finding import KINDS, Finding, Level
from snellen.version import __version__

#: Rules that are no kind of finding.
_GATE_RULES = {
    REQUIREMENT: "a requirement is not met",
    NOT_WORSE: "a figure is not shown to be no worse than in the baseline",
    BASELINE: "a figure is worse than in the baseline",
}

#: Level of a result, by that of a finding.
_LEVELS: dict[Level, Literal["error", "warning", "note"]] = {
    "severe": "error",
    "moderate": "warning",
    "mild": "note",
    "note": "note",
}

#: Kinds that are found in the images; all others are found in the model.
_OF_DATA = frozenset(
    {
        "metadata_shortcut", "label_noise", "multi_label", "duplicate", "leakage", "drift", "out_of_distribution",
        "coverage", "data_quality", "unsafe_content", "generated_content", "manipulated_region", "bag_contradiction",
    }
)  # fmt: skip

#: Base of relative paths: the folder in which the command was run, which in a pipeline is that of the repository.
_BASE = "%SRCROOT%"


def sarif(
    report: AuditReport, gate: Gate, *, level: Level = "moderate", model: Path | None = None, data: Path | None = None
) -> bytes:
    """Write one run: a result for each finding of a level or worse, and for each failure of the gate.

    What is met is no result, because code hosts show every result as a problem. Checks that did not run are
    notifications of the invocation. Equal audits give equal bytes.

    Args:
        report: of the audit.
        gate: the requirements.
        level: findings of this level or worse are results.
        model: file or folder of the model: where findings about it, and failures of the gate, are shown.
        data: the same of the images. What is no file is shown where the other is, else at the report.

    Returns:
        JSON in UTF-8.
    """
    record = None if report.folder is None else report.folder / "report.json"
    own, images = model or data or record, data or model or record
    results = [_result(one.rule, "error", one.words, own, one.subject) for one in gate.failed]
    results += [_finding(one, images if one.kind in _OF_DATA else own) for one in findings_from(level, report)]
    named = list(dict.fromkeys(str(result["ruleId"]) for result in results))
    for result in results:
        result["ruleIndex"] = named.index(result["ruleId"])
    run = {
        "tool": {
            "driver": {
                "name": "Snellen",
                "version": __version__,
                "rules": [_rule(name) for name in named],
            }
        },
        "automationDetails": {"id": legal_text(f"snellen audit of {report.model['name']}/")},
        "invocations": [
            {
                "executionSuccessful": True,
                "exitCode": 0 if gate.passes else 3,
                "toolExecutionNotifications": [
                    {
                        "level": "error" if check.status == "failed" else "note",
                        "message": {"text": _text(f"check {check.name} {check.status}: {check.reason or 'no reason'}")},
                    }
                    for check in report.checks
                    if check.status != "done"
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False).encode("utf-8") + b"\n"


def place_of(reference: str) -> Path | None:
    """The file or folder in a reference of a model or of images, where there is one.

    >>> print(place_of("bundled:fashion-cnn"), place_of("timm:resnet18@no such file"))
    None None
    """
    plain = reference.rpartition("#")[0] or reference
    behind = plain.partition(":")[2]
    for text in (reference, plain, behind, behind.partition("@")[2]):
        if text and os.path.exists(text):  # which takes any text; that of pathlib fails on long ones
            return Path(text)
    return None


def _finding(finding: Finding, place: Path | None) -> dict[str, Any]:
    text = f"{finding.title} (harm {finding.harm:.1%}: share of the data lost, lower bound at 95 %)."
    result = _result(finding.kind, _LEVELS[finding.whole_level], text, place, finding.key)
    result["properties"] = {
        "level": finding.whole_level,
        "subject": legal_text(finding.subject),
        "harm": finding.harm,
        "p_value": finding.p_value,
        "facts": {legal_text(name): legal_text(one) if isinstance(one, str) else one
                  for name, one in finding.facts.items()},
        "examples": [legal_text(example.example_id) for example in finding.examples],
        "treatments": [legal_text(one) for one in finding.treatments],
    }  # fmt: skip
    return result


def _result(rule: str, level: str, text: str, place: Path | None, subject: str) -> dict[str, Any]:
    print_of = hashlib.sha256(f"{rule}:{subject}".encode("utf-8", "replace")).hexdigest()
    return {
        "ruleId": legal_text(rule),
        "level": level,
        "kind": "fail",
        "message": {"text": _text(text)},
        "locations": [] if place is None else [{"physicalLocation": _location(place)}],
        "partialFingerprints": {"snellen/v1": print_of},
    }


def _location(place: Path) -> dict[str, Any]:
    """Relative to where the command runs if it lies there; a table is text and has a first line."""
    whole = place.resolve()
    slash = "/" * whole.is_dir()
    here = Path.cwd()
    if whole.is_relative_to(here):
        # pathlib quotes what a URI cannot hold, in absolute paths alone.
        quoted = Path("/", whole.relative_to(here)).as_uri().removeprefix("file:///")
        artifact = {"uri": f"{quoted or '.'}{slash}", "uriBaseId": _BASE}
    else:
        artifact = {"uri": f"{whole.as_uri()}{slash}"}
    location: dict[str, Any] = {"artifactLocation": artifact}
    if whole.suffix.lower() in (".csv", ".toml"):
        location["region"] = {"startLine": 1}
    return location


def _rule(name: str) -> dict[str, Any]:
    said = _GATE_RULES.get(name) or KINDS.get(name) or name
    return {
        "id": legal_text(name),
        "name": "".join(part.capitalize() for part in legal_text(name).replace("-", "_").split("_")),
        "shortDescription": {"text": _text(said)},
    }


def _text(words_of: str) -> str:
    r"""Text in which nothing is a link or a placeholder (sections 3.11.5 and 3.11.6).

    >>> print(_text("class [a](b) {0}"))
    class \[a\](b) {{0}}
    """
    text = legal_text(words_of).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    return text.replace("{", "{{").replace("}", "}}")
