"""One run directory as the desk shows it: what was audited, when, what was found, how far it is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from snellen.core.errors import InputError
from snellen.core.finding import Finding
from snellen.core.formats import CARD, FORMATS, INPUTS, MANIFEST, REPORT, TREATMENT, Format
from snellen.data.files.contained_file import printable

#: Bytes of a JSON file that is read.
LARGEST = 256 * 1024 * 1024

#: How far a run is. An unfinished one may be running in another process, or may have been stopped.
Status: TypeAlias = Literal["finished", "unfinished", "unreadable"]

#: What stands in a folder while it is treated.
_TREATING = "treating.json"

#: What the folders of other verbs hold, by kind: their record says what was done.
RECORDS: Mapping[str, Format] = {
    "attack": FORMATS["attack.json"],
    "explanation": FORMATS["explain.json"],
    "scan": FORMATS["scan.json"],
    "certificates": FORMATS["certify.json"],
    "forgetting": FORMATS["forget.json"],
    "shift": FORMATS["shift.json"],
    "generation": FORMATS["generate.json"],
    "synthesis": FORMATS["synthesize.json"],
    "labels": FORMATS["label.json"],
    "monitoring": FORMATS["monitoring.json"],
    "requirements": FORMATS["requirements.json"],
    "comparison": Format("comparison.json", "comparison of two audits"),
    "training": CARD,
}


def _content(kind: Format) -> cached_property[Mapping[str, Any]]:
    """What a file of a run holds, as a property that is read once; empty while there is none.

    The property raises InputError where the file cannot be read.
    """
    return cached_property(lambda run: run.read(kind))


@dataclass(frozen=True, eq=False)
class RunFolder:
    """One run directory.

    Attributes:
        path: of the folder.
        name: path below the folder of the desk, as it is shown.
        kind: what wrote it: ``audit``, ``treatment``, or another verb.
    """

    path: Path
    name: str
    kind: str

    @cached_property
    def id(self) -> str:
        """Name of the run in addresses: no path, so that no address leads to a file."""
        return hashlib.sha256(self.name.encode("utf-8", "surrogateescape")).hexdigest()[:12]

    @cached_property
    def key(self) -> str:
        """Name of the run among decisions: a folder that was moved keeps its decisions."""
        file = self.path / (MANIFEST.file if (self.path / MANIFEST.file).is_file() else REPORT.file)
        try:
            return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        except OSError:
            return self.id

    #: The manifest.
    plan = _content(MANIFEST)
    report = _content(REPORT)
    treatment = _content(TREATMENT)
    #: How classifier and images were loaded; empty where they were handed in as objects.
    inputs = _content(INPUTS)

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """What the record of another verb holds; empty while there is none.

        Raises:
            InputError: it cannot be read.
        """
        return self.read(RECORDS[self.kind]) if self.kind in RECORDS else {}

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of the report, in its order.

        Raises:
            InputError: they cannot be read.
        """
        rows = self.report.get("findings", [])
        try:
            return tuple(
                Finding.model_validate({k: v for k, v in row.items() if k not in ("level", "key")}) for row in rows
            )
        except (ValidationError, AttributeError, TypeError) as error:
            raise InputError(f"the findings of {printable(str(self.path))} cannot be read: {error}") from error

    def finding(self, name: str) -> Finding | None:
        """The finding with this :func:`finding_id`; None without such a one."""
        return next((one for one in self.findings if finding_id(one) == name), None)

    @property
    def treatable(self) -> list[Finding]:
        """Findings that a command treats."""
        return [one for one in self.findings if any(each.startswith("snellen ") for each in one.treatments)]

    @property
    def status(self) -> Status:
        """How far it is."""
        try:
            if self.kind == "treatment":
                return "finished" if self.treatment else "unfinished"
            if self.kind in RECORDS:
                return "finished" if self.record else "unfinished"
            return "finished" if self.report and self.findings is not None else "unfinished"  # reads the findings
        except InputError:
            return "unreadable"

    @property
    def audited(self) -> bool:
        """Whether it is a finished audit."""
        return self.kind == "audit" and self.status == "finished"

    @property
    def changed(self) -> float:
        """When its result, or its plan, was written: seconds since 1970."""
        files = (TREATMENT.file, REPORT.file, MANIFEST.file, _TREATING)
        own = (RECORDS[self.kind].file,) if self.kind in RECORDS else ()
        times = [found for name in (*own, *files) if (found := modified(self.path / name))]
        return times[0] if times else 0.0

    @property
    def model(self) -> str:
        """Name of the classifier."""
        return self._known("model", "name") or self._treated("name")

    @property
    def identity(self) -> str:
        """Hash of the classifier: two runs of one classifier have the same."""
        return self._planned("model", "identity") or self._treated("identity")

    @property
    def data(self) -> str:
        """Name of the images."""
        return self._known("data", "name")

    @property
    def fingerprint(self) -> str:
        """Hash of the images with their labels."""
        return self._planned("data", "fingerprint")

    @property
    def contents(self) -> str:
        """Hash of the images without their labels; empty where an earlier version audited them."""
        return self._planned("contents", "audit")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        found = _inside(self._plan_or_nothing(), "model", "class_names")
        return tuple(str(one) for one in found) if isinstance(found, list) else ()

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self._planned("model", "task") == "multilabel"

    @property
    def seed(self) -> int:
        """Of the audit."""
        found = self._plan_or_nothing().get("seed")
        return found if isinstance(found, int) else 0

    @property
    def keeps_pictures(self) -> bool:
        """Whether pictures of the images may be written down: not where the audit was to keep none."""
        plan = self._plan_or_nothing()
        return plan.get("save_images") is True and plan.get("pseudonyms") is None

    @property
    def knows_images(self) -> bool:
        """Whether the images can be opened again."""
        return (self.path / INPUTS.file).is_file()

    def progress(self) -> tuple[int, int]:
        """Shards of the audited images that are measured, and all of them; (0, 0) where that is not planned."""
        planned = _inside(self._plan_or_nothing(), "shards", "audit")
        total = planned if isinstance(planned, int) and 0 < planned <= 10**7 else 0
        try:
            done = sum(one.name.isdecimal() for one in os.scandir(self.path / "shards"))
        except OSError:
            done = 0
        return min(done, total), total

    def read(self, kind: Format) -> Mapping[str, Any]:
        """What one of its files holds; empty while there is none.

        Raises:
            InputError: it cannot be read.
        """
        file = self.path / kind.file
        try:
            if file.stat().st_size > LARGEST:
                raise InputError(f"{printable(str(file))} holds more than {LARGEST / 2**20:.0f} MiB and is not read")
            found = json.loads(file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{printable(str(file))} cannot be read: {error}") from error
        try:
            content: Mapping[str, Any] = kind.read(found, file)
        except (KeyError, TypeError, AttributeError) as error:  # of an older version, and not what that wrote
            raise InputError(f"{printable(str(file))} is no {kind.content}: {error!r}") from error
        return content

    # What is shown of a run that cannot be read is nothing, and no error: its page and the list say why.

    def _plan_or_nothing(self) -> Mapping[str, Any]:
        try:
            return self.plan
        except InputError:
            return {}

    def _planned(self, first: str, second: str) -> str:
        return _text(self._plan_or_nothing(), first, second)

    def _known(self, first: str, second: str) -> str:
        try:
            return _text(self.report, first, second) or self._planned(first, second)
        except InputError:
            return self._planned(first, second)

    def _treated(self, name: str) -> str:
        try:
            return _text(self.treatment, "classifier", name)
        except InputError:
            return ""


def finding_id(finding: Finding) -> str:
    """Name of a finding in addresses and among decisions.

    >>> len(finding_id(Finding(kind="drift", harm=0, title="")))
    12
    """
    return hashlib.sha256(finding.key.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def kind_of(folder: Path) -> str | None:
    """What wrote a folder: ``audit``, ``treatment``, or another verb; None: it holds no run."""
    if (folder / TREATMENT.file).is_file() or (folder / _TREATING).is_file():
        return "treatment"
    if (folder / MANIFEST.file).is_file():
        try:
            with (folder / MANIFEST.file).open("rb") as stream:
                found = json.loads(stream.read(LARGEST))
        except (OSError, ValueError, RecursionError):
            return "audit"
        kind = found.get("kind") if isinstance(found, dict) else None
        return kind if isinstance(kind, str) else "audit"
    if (folder / REPORT.file).is_file() and (folder / "report.html").is_file():
        return "audit"
    return next((kind for kind, record in RECORDS.items() if (folder / record.file).is_file()), None)


def modified(path: Path) -> float:
    """When a file was written, seconds since 1970; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _inside(record: Mapping[str, Any], first: str, second: str) -> object:
    part = record.get(first)
    return part.get(second) if isinstance(part, dict) else None


def _text(record: Mapping[str, Any], first: str, second: str) -> str:
    found = _inside(record, first, second)
    return found if isinstance(found, str) else ""
