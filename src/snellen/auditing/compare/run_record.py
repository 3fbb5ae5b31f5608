"""A finished audit, read back from its run directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from snellen.auditing.report import AuditReport
from snellen.auditing.shard_work import AUDITED, CLEAN
from snellen.checks.per_image import PerImage
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.formats import MANIFEST, REPORT
from snellen.core.randomness import EARLIER_SPLIT


@dataclass(frozen=True, eq=False)
class RunRecord:
    """What an audit found, and what it was computed from.

    Attributes:
        report: the report.
        plan: the manifest.
        evidence: by check; ``clean`` always.
        val_evidence: clean evidence of the validation images; None without such.
        trained_on: the same of the training images.
        lists: rows of the files in ``lists/``, by their name.
    """

    report: AuditReport
    plan: Mapping[str, Any]
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    val_evidence: Evidence | None = None
    trained_on: Evidence | None = None
    lists: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path | str) -> RunRecord:
        """Read a run directory.

        Raises:
            InputError: no such folder, no run, another kind of run, an unfinished one, or one of a newer Snellen.
        """
        place = Path(folder)
        plan = MANIFEST.read(read_json(place, "manifest.json"), place / "manifest.json")
        report = read_json(place, "report.json")
        if plan.get("kind") != "audit":
            raise InputError(f"{place} holds a run of the kind {plan.get('kind')!r}; only audits can be compared")
        if EARLIER_SPLIT in plan.get("companions", {}):
            raise InputError(
                f"{place} was audited when the validation images were called {EARLIER_SPLIT!r}; audit again, with --val"
            )
        try:
            evidence = {path.stem: Evidence.read(path) for path in sorted((place / "evidence").glob("[!.]*.parquet"))}
            beside = {name: place / name / "evidence" / f"{CLEAN}.parquet" for name in ("val", "train")}
            others = {name: Evidence.read(path) for name, path in beside.items() if path.is_file()}
        except (OSError, pa.ArrowInvalid, ValueError) as error:
            raise InputError(f"the evidence of {place} cannot be read ({error}); run the audit again") from error
        if CLEAN not in evidence:
            raise InputError(f"{place} has no evidence/{CLEAN}.parquet; run the audit again")
        lists = {path.stem: _rows(path) for path in sorted((place / "lists").glob("[!.]*.json"))}
        return cls(report_from_json(report, place), plan, evidence, others.get("val"), others.get("train"), lists)

    @cached_property
    def images(self) -> PerImage:
        """What is known of every usable image."""
        return PerImage.of(self.evidence[CLEAN])

    @cached_property
    def val(self) -> PerImage | None:
        """What is known of the validation images."""
        return None if self.val_evidence is None else PerImage.of(self.val_evidence)

    @cached_property
    def training(self) -> PerImage | None:
        """What is known of the training images."""
        return None if self.trained_on is None else PerImage.of(self.trained_on)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.plan["model"]["class_names"])

    @property
    def fingerprint(self) -> str:
        """Of the image set, labels included."""
        return str(self.plan["data"]["fingerprint"])

    def set_fingerprint(self, name: str) -> str | None:
        """The same of a set, ``audit``, ``train`` or ``val``; None where the run had none."""
        if name == AUDITED:
            return self.fingerprint
        found = self.plan.get("companions", {}).get(name)
        return None if found is None else str(found["fingerprint"])

    def contents(self, name: str) -> str | None:
        """Hash of ids and contents of a set alone; None where there is none, or an earlier version audited it."""
        found = self.plan.get("contents", {}).get(name)
        return None if found is None else str(found)

    @cached_property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Parameters by check, of those that ran."""
        done = {check.name for check in self.report.checks if check.status == "done"}
        return {record["check"]: dict(record) for record in self.plan["checks"] if record["check"] in done}


def report_from_json(record: Mapping[str, Any], where: Path | str) -> AuditReport:
    """The report that :meth:`AuditReport.to_json` wrote.

    Raises:
        InputError: it is not one, or a newer version of Snellen wrote it.
    """
    computed = ("level", "key")
    record = REPORT.read(record, Path(where) / "report.json")
    try:
        findings = [{k: v for k, v in row.items() if k not in computed} for row in record["findings"]]
        return AuditReport.model_validate({**record, "findings": findings})
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else repr(error)
        raise InputError(
            f"{where}: report.json is not the report of an audit ({reason}); run the audit again"
        ) from error


def _rows(path: Path) -> Sequence[Mapping[str, Any]]:
    """Rows of a list; what is none is left out, since a plugin writes what it likes."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); run the audit again") from error
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A file of a run directory.

    Raises:
        InputError: no such folder, no run, or an unfinished one.
    """
    path = folder / name
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        if not folder.is_dir():
            why = "there is no such folder"
        elif name == "report.json":
            why = "the audit in it is not finished; give its command again"
        elif (folder / "report.json").is_file():
            why = f"it holds a report alone, and no {name}; audit again into a folder (out=..., --out FOLDER)"
        else:
            why = f"it holds no {name}: it is no run directory of an audit"
        raise InputError(f"{folder} cannot be read: {why}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is not that of an audit")
    return value


def record_of(given: Path | str | AuditReport, which: str) -> RunRecord:
    """A finished audit that was named by its directory, or by its report.

    Args:
        given: directory or report.
        which: of several it is, for messages.

    Raises:
        InputError: the report has no directory, or as :meth:`RunRecord.read`.
    """
    if not isinstance(given, AuditReport):
        return RunRecord.read(given)
    if given.folder is None:
        raise InputError(
            f"the {which} report kept no run directory, and without its evidence nothing can be judged; audit with out="
        )
    return RunRecord.read(given.folder)


def open_report(folder: Path | str) -> AuditReport:
    """Open the report of a finished audit, or one that :meth:`AuditReport.save` wrote.

    Raises:
        InputError: there is no report in the folder, or one of another version.
    """
    place = Path(folder)
    report = report_from_json(read_json(place, "report.json"), place)
    rejected = place / "rejected.json"
    rows = json.loads(rejected.read_bytes()) if rejected.is_file() else []
    return report.keeping(folder=place, rejected=rows)
