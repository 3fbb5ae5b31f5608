"""The result of an audit as data: what report.json holds."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr

from snellen.auditing.findings_table import Findings
from snellen.auditing.kept_folder import KeptFolder
from snellen.checks.check import CheckFigure
from snellen.checks.eye_chart import EyeChart
from snellen.checks.panels import Panel
from snellen.core.errors import InputError, import_extra, unknown_name
from snellen.core.finding import Finding, Level
from snellen.core.formats import MANIFEST, REPORT
from snellen.core.run import canonical_json
from snellen.data.rejections import listed_reasons

if TYPE_CHECKING:
    from snellen.auditing.ledger import Ledger
    from snellen.auditing.subject import Subject

#: Images below which a report without findings says that they are few.
FEW = 100

#: Names of pictures are hashes, never paths.
HASH = re.compile("[0-9a-f]{64}")


class CheckStatus(BaseModel):
    """Whether a check ran, and if not, or if it could conclude nothing, why.

    Attributes:
        name: of the check.
        status: done, skipped or failed.
        reason: why it was skipped, failed, or concluded nothing; null where it is done.
        setting: field of the check that it lacked to run; null where it ran, or lacked something else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    status: Literal["done", "skipped", "failed"]
    reason: str | None = None
    setting: str | None = None


class Judged(BaseModel):
    """How many hypotheses the audit tested together, and how many became findings, at which false discovery rate.

    Attributes:
        hypotheses: how many were tested together.
        findings: how many of them became findings.
        rate: false discovery rate, a share.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hypotheses: int
    findings: int
    rate: float


class AuditReport(BaseModel):
    """Everything an audit found. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        model: name, identity, classes, what the loader assumed.
        data: name, fingerprint, number of images used and rejected.
        metrics: figures by dotted name.
        findings: ranked by harm; a tuple that shows itself as a table.
        tested: how many hypotheses were tested together.
        eye_chart: retained accuracy by severity and nuisance; None when nothing of the kind was measured.
        panels: curves and tables.
        checks: what ran, what was skipped and why.
        notes: how to read the figures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, CheckFigure]
    findings: Annotated[tuple[Finding, ...], AfterValidator(Findings)]
    tested: Judged
    eye_chart: EyeChart | None = None
    panels: tuple[Panel, ...] = ()
    checks: tuple[CheckStatus, ...]
    notes: tuple[str, ...] = ()
    sight: tuple[str, ...] = Field((), description="what would have been found, by checks that found nothing")
    folder: Path | None = Field(None, exclude=True, description="the run directory, when the audit wrote one")

    _pictures: Mapping[str, bytes] = PrivateAttr(default_factory=dict)
    _rejected: Sequence[Mapping[str, str]] = PrivateAttr(default=())
    _subject: Any = PrivateAttr(default=None)
    _ledger: Any = PrivateAttr(default=None)
    _kept: KeptFolder | None = PrivateAttr(default=None)

    def to_json(self) -> dict[str, Any]:
        """JSON values, each finding with its level and key, as the file holds them."""
        record = self.model_dump(mode="json")
        for row, finding in zip(record["findings"], self.findings, strict=True):
            row |= {"level": finding.level, "key": finding.key}
        for panel in record["panels"]:
            if not panel["heat"]:  # stated only where there are such pictures
                del panel["heat"]
        return REPORT.stamped(record)

    def __repr__(self) -> str:
        known = {
            "clean.accuracy": "clean accuracy",
            "segmentation.miou": "mIoU",
            "labels.macro_auroc": "mean AUROC",
        }
        clean = "".join(f"{known[name]} {self.metrics[name].value:.3f}, " for name in known if name in self.metrics)
        lost, reasons = self.data.get("rejected", 0), self.data.get("rejected_reasons", {})
        rejected = f", {lost} of {self.data['images']} images rejected ({listed_reasons(reasons)})" if lost else ""
        return (
            f"AuditReport({self.model['name']} on {self.data['name']}: {clean}{len(self.findings)} findings{rejected})"
        )

    __str__ = __repr__

    def __dir__(self) -> list[str]:
        # What a reader looks for, and none of what the class inherits.
        return [
            *type(self).model_fields,
            "html",
            "review",
            "save",
            "show",
            "to_form",
            "to_json",
            "to_markdown",
            "to_pandas",
            "to_pdf",
        ]

    @property
    def nothing_found(self) -> str:
        """What a report without findings says instead: little, where images are few or nothing was measured."""
        if not self.metrics:
            return "Nothing could be measured: no usable image has a label."
        images = self.data["images"] - self.data.get("rejected", 0)
        if images < FEW:
            return f"No significant problems found; {images} images can only show large ones."
        return "No significant problems found."

    def _repr_html_(self) -> str:
        # The page needs the report, and the report, in these few places, the page.
        from snellen.auditing.html import render_notebook

        return render_notebook(self, self.pictures())

    @property
    def html(self) -> str:
        """The whole report as one page."""
        from snellen.auditing.html import render_report

        return render_report(self, self.pictures(), self._rejected)

    def show(self) -> None:
        """Show the report: with its pictures in a notebook, as text elsewhere."""
        from snellen.auditing.text_summary import text_summary

        if in_notebook():
            sys.modules["IPython"].display.display(self)
        else:
            print(text_summary(self))  # noqa: T201 - it is what the caller wants

    def review(self) -> Any:  # noqa: ANN401 - Review of the desk, which is a room above this one
        """Open the desk on this report's run, and show its link: see :class:`snellen.desk.inline.Review`.

        Raises:
            InputError: the audit wrote no run directory.
            MissingExtraError: the extra ``ui`` is not installed.
        """
        return importlib.import_module("snellen.desk.inline").review(self.folder)

    def to_pandas(self, table: Literal["figures", "findings"] = "figures") -> Any:  # noqa: ANN401 - of an extra
        """Figures, or findings, as a data frame of pandas with a row for each.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pandas = import_extra("pandas", "pandas", "a data frame")
        if table == "figures":
            rows = [{"figure": name, **figure.model_dump()} for name, figure in self.metrics.items()]
            return pandas.DataFrame(rows, columns=["figure", "value", "low", "high", "n"]).set_index("figure")
        if table != "findings":
            raise unknown_name("table of a report", table, ("figures", "findings"))
        columns = ["level", "kind", "subject", "harm", "p_value", "title"]
        return pandas.DataFrame(
            [{name: getattr(finding, name) for name in columns} for finding in self.findings], columns=columns
        )

    def to_markdown(self, file: Path | str | None = None) -> str:
        """The report as Markdown: figures, findings in their order, and one line for each check that was skipped.

        Args:
            file: also write it there, with pictures in the folder ``pictures`` beside; None: text without pictures.
        """
        from snellen.auditing.markdown import render_markdown, write_markdown

        return render_markdown(self, {}) if file is None else write_markdown(self, Path(file))

    def to_form(self, form: Literal["model-card", "tripod-ai", "claim"], file: Path | str | None = None) -> str:
        """A document that others want, filled in as far as this audit measured.

        Args:
            form: a model card, or the items of TRIPOD+AI (2024) or CLAIM (2024), one by one.
            file: also write it there; ``.html`` gives a page, all else Markdown.

        Returns:
            Markdown, or the page.

        Raises:
            UnknownNameError: there is no such form.
            InputError: the file ends in ``.pdf``, ``.docx`` or the like.
        """
        from snellen.auditing.forms.form_file import write_form

        return write_form(self, form, file)

    def to_pdf(self, file: Path | str) -> Path:
        """Write the report as a PDF file, with pictures. Equal reports give equal bytes.

        Returns:
            The file.

        Raises:
            MissingExtraError: ReportLab is not installed.
        """
        from snellen.auditing.pdf import write_pdf

        write_pdf(self, Path(file))
        return Path(file)

    def save(self, folder: Path | str) -> Path:
        """Write the run directory of this audit, for :func:`snellen.open_report`, treatments and comparisons.

        It holds where classifier and images lie, the columns of tables, and the scores of each image. Hand on
        ``report.html`` alone where that is too much. Where the run is not there any more, as of a report that was
        copied to another process, only ``report.json``, ``report.html``, pictures and ``rejected.json`` are written.

        Returns:
            The page.

        Raises:
            InputError: the folder holds another run, or is that of this audit itself.
        """
        place, whole = Path(folder), self._kept.path if self._kept is not None else self.folder
        there, plan = place / MANIFEST.file, None if whole is None else whole / MANIFEST.file
        if plan is None or not plan.is_file():
            plan = None
        if there.exists() and (plan is None or there.samefile(plan) or there.read_bytes() != plan.read_bytes()):
            raise InputError(f"{place} holds a run; save the report into another folder")
        if plan is not None:
            _copy_run(plan.parent, place)
        else:
            (place / "blobs").mkdir(parents=True, exist_ok=True)
            for name, content in self.pictures().items():
                (place / "blobs" / name).write_bytes(content)
            (place / "report.json").write_bytes(canonical_json(self.to_json()))
            (place / "rejected.json").write_bytes(canonical_json(list(self._rejected)))
        page = place / "report.html"
        page.write_text(self.html, encoding="utf-8")
        return page

    def keeping(
        self,
        *,
        folder: Path | None,
        pictures: Mapping[str, bytes] | None = None,
        rejected: Sequence[Mapping[str, str]] = (),
    ) -> AuditReport:
        """The same report with the place of its files, or with their content where there is no place."""
        kept = self.model_copy(update={"folder": folder})
        kept._pictures, kept._rejected = dict(pictures or {}), tuple(rejected)
        return kept

    def within(self, place: Path | KeptFolder) -> AuditReport:
        """The same report, which knows its run directory; a temporary one lives as long as the report."""
        if isinstance(place, Path):
            return self.model_copy(update={"folder": place})
        self._kept = place
        return self

    def examining(self, subject: Subject) -> AuditReport:
        """The same report, which knows classifier and images in this process: what a treatment begins from."""
        self._subject = subject
        return self

    def counted_in(self, ledger: Ledger | None) -> AuditReport:
        """The same report, which knows the ledger that counts it: what a gate is entered in."""
        self._ledger = ledger
        return self

    @property
    def ledger(self) -> Ledger | None:
        """The ledger that counts this audit, where one was named."""
        found: Ledger | None = self._ledger
        return found

    @property
    def subject(self) -> Subject | None:
        """What was examined, where the audit was made in this process."""
        found: Subject | None = self._subject
        return found

    def pictures(self) -> dict[str, bytes]:
        """Pictures of the examples, by name: those of the run directory, or those that were kept in memory."""
        if self.folder is None:
            return dict(self._pictures)
        named = {name for f in self.findings for e in f.examples for name in (e.image, e.after) if name is not None}
        named |= {
            name for panel in self.panels for one in panel.heat for name in (one.plain, one.heat) if name is not None
        }
        files = {name: self.folder / "blobs" / name for name in sorted(named) if HASH.fullmatch(name)}
        return {name: file.read_bytes() for name, file in files.items() if file.is_file()}


def _copy_run(whole: Path, place: Path) -> None:
    """Copy what a run directory holds; the manifest last, so that half a copy is no run."""
    place.mkdir(parents=True, exist_ok=True)  # with the rights that it has
    for one in sorted(whole.iterdir(), key=lambda one: one.name == MANIFEST.file):
        if one.is_dir():
            shutil.copytree(one, place / one.name, dirs_exist_ok=True)
        else:
            shutil.copyfile(one, place / one.name)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook; Colab's shell is made of that of Jupyter."""
    shell = sys.modules.get("IPython")
    running = None if shell is None else shell.get_ipython()
    return any(one.__name__ == "ZMQInteractiveShell" for one in type(running).__mro__)


def report_schema() -> dict[str, Any]:
    """The schema of what :meth:`AuditReport.to_json` gives.

    >>> sorted(report_schema()["$defs"]["Finding"]["required"])[:4]
    ['examples', 'facts', 'harm', 'key']
    """
    schema = AuditReport.model_json_schema(mode="serialization")
    # The run directory is no part of the file.
    schema["properties"].pop("folder", None)
    finding = schema["$defs"]["Finding"]
    # Computed when the report is written.
    finding["properties"]["level"] = {
        "description": "by harm beyond the usual: severe from 0.2, moderate from 0.05, mild from 0.005, else a note",
        "enum": list(get_args(Level)),
        "title": "Level",
        "type": "string",
    }
    finding["properties"]["key"] = {
        "description": "kind and subject: the same in every run",
        "title": "Key",
        "type": "string",
    }
    finding["required"] = sorted({*finding["properties"]})
    return REPORT.schema(schema)
