"""The verb ``snellen.requirements``: many audited models against written requirements, a verdict for each pair."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from snellen.auditing.checks import CHECKS
from snellen.auditing.compare.better_side import direction
from snellen.auditing.compare.pairing import same_set
from snellen.auditing.compare.required_cell import RequiredCell, required_cell
from snellen.auditing.compare.requirement import ACUITY, FINDINGS, LEVELS, Verdict
from snellen.auditing.compare.requirements_file import WrittenRequirement, WrittenRequirements, read_requirements
from snellen.auditing.compare.run_record import RunRecord, record_of
from snellen.auditing.figure_meanings import may_be_given, meanings
from snellen.auditing.report import AuditReport
from snellen.core.errors import InputError
from snellen.core.formats import FORMATS
from snellen.core.run import canonical_json, write_atomically
from snellen.methods.corruptions.benchmarks import kinds_by_benchmark

#: Verdicts from the best on.
VERDICTS: tuple[Verdict, ...] = ("met", "undecided", "not measured", "not met")

#: Figures of any kind and severity of damage, also on the images with or without a label, and of any threat.
_UNDER_SETTINGS = re.compile(
    r"corruption\.(?:(?P<kind>[^.]+)\.(?:error|[\d.]+\.accuracy)|.+\.(?:present|absent)\.(?:(?P<of_label>[^.]+)\.)?error)"
    r"|adversarial\.(?:linf|l2)\.[\d.e-]+(?:\.fgsm)?\.accuracy"
)

NOTES = (
    "Met: the whole 95 % interval satisfies the relation. Not met: none of it does. Undecided: the interval lies "
    "on both sides of the bound. The number of images that decide in nine of ten audits supposes that the value is "
    "the truth. Not measured: the audit has no such figure.",
    "A model that lies just at a bound is called met in about 2.5 % of audits, and not met in as many. A model that "
    "lies beyond it is called wrongly more rarely. A requirement on an estimate (.value) is wrong in up to half of "
    "them.",
    "Each verdict stands for itself. The best of many models looks better on these images than it is: judge the one "
    "that you choose again, on images that chose nothing.",
)


class RequiredModel(BaseModel):
    """A column: an audited model, and how many requirements came out how.

    Attributes:
        name: of the model.
        data: name of the image set.
        counts: how many requirements came out how.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    identity: str | None = Field(description="hash of the weights")
    data: str
    fingerprint: str = Field(description="of the image set")
    images: int = Field(description="images used")
    counts: dict[Verdict, int]

    @property
    def meets_all(self) -> bool:
        """Whether every requirement is met."""
        return self.counts["met"] == sum(self.counts.values())


class RequiredRow(BaseModel):
    """One requirement, with a cell for each model.

    Attributes:
        id: of the requirement, from the file.
        text: as written there.
        metric: what is compared, such as clean.accuracy>=0.9.
        source: where the requirement comes from; null where it is not stated.
        cells: one for each model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    text: str
    metric: str
    source: str | None
    cells: tuple[RequiredCell, ...]


class RequirementsTable(BaseModel):
    """Models by requirements. Holds no clock reading and no path: equal runs give equal bytes.

    Attributes:
        title: of the document.
        models: the columns, in the order of the runs.
        rows: the requirements, in the order of the file.
        notes: how to read it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    models: tuple[RequiredModel, ...]
    rows: tuple[RequiredRow, ...]
    notes: tuple[str, ...]

    @property
    def not_measured(self) -> tuple[tuple[RequiredRow, RequiredModel, RequiredCell], ...]:
        """Cells of figures that were not measured, with their requirement and model."""
        return tuple(
            (row, model, cell)
            for row in self.rows
            for model, cell in zip(self.models, row.cells, strict=True)
            if cell.verdict == "not measured"
        )

    @property
    def met(self) -> bool:
        """Whether every model meets every requirement."""
        return all(model.meets_all for model in self.models)

    @property
    def verdict(self) -> str:
        """The decision in a sentence or two."""
        meeting = [model.name for model in self.models if model.meets_all]
        count = f"all {len(self.rows)} requirements" if len(self.rows) > 1 else "the requirement"
        if meeting:
            meet = "meets" if len(meeting) == 1 else "meet"
            return f"{len(meeting)} of {len(self.models)} models {meet} {count}: {', '.join(meeting)}."
        open_ones = [model.name for model in self.models if not model.counts["not met"]]
        if open_ones:
            return f"No model is shown to meet {count}. Nothing speaks against {', '.join(open_ones)} so far."
        return f"No model meets {count}."

    def to_json(self) -> dict[str, Any]:
        """JSON values, as ``requirements.json`` holds them."""
        return FORMATS["requirements.json"].stamped(self.model_dump(mode="json"))

    def __repr__(self) -> str:
        return f"RequirementsTable({len(self.models)} models × {len(self.rows)} requirements: {self.verdict})"

    __str__ = __repr__

    @property
    def html(self) -> str:
        """The table as one page."""
        from snellen.auditing.compare.requirements_page import render_requirements

        return render_requirements(self)

    def _repr_html_(self) -> str:
        from snellen.auditing.compare.requirements_page import render_fragment

        return render_fragment(self)

    def to_markdown(self, file: Path | str | None = None) -> str:
        """The table as Markdown, also written to a file where one is named."""
        from snellen.auditing.compare.requirements_page import requirements_markdown

        text = requirements_markdown(self)
        if file is not None:
            write_atomically(Path(file), text.encode("utf-8", "replace"))
        return text

    def to_pdf(self, file: Path | str) -> Path:
        """Write the table as a PDF file. Equal tables give equal bytes.

        Raises:
            MissingExtraError: ReportLab is not installed.
        """
        from snellen.auditing.compare.requirements_pdf import write_requirements_pdf

        write_requirements_pdf(self, Path(file))
        return Path(file)

    def save(self, folder: Path | str) -> Path:
        """Write ``requirements.json``, ``.html`` and ``.md``, and ``.pdf`` where ReportLab is installed.

        Returns:
            The page.
        """
        place = Path(folder)
        write_atomically(place / "requirements.json", canonical_json(self.to_json()))
        write_atomically(place / "requirements.html", self.html.encode("utf-8", "replace"))
        self.to_markdown(place / "requirements.md")
        from snellen.auditing.compare.requirements_pdf import can_write_pdf

        if can_write_pdf():
            self.to_pdf(place / "requirements.pdf")
        return place / "requirements.html"


def requirements(
    file: Path | str,
    runs: Path | str | AuditReport | Sequence[Path | str | AuditReport] | Mapping[str, Path | str | AuditReport],
) -> RequirementsTable:
    """Judge audited models by written requirements.

    Args:
        file: ``requirements.toml`` (:class:`~snellen.auditing.compare.requirements_file.WrittenRequirements`).
        runs: finished audits, each by its directory or its report: one, several, or a mapping of names to them. Without
            names a model has its own, and that of its folder where two models would be called alike.

    Returns:
        The table.

    Raises:
        InputError: the file or a run cannot be read, or a requirement names a figure that no audit has.
    """
    written = read_requirements(file)
    given: list[tuple[str | None, Path | str | AuditReport]]
    if isinstance(runs, Mapping):
        given = [(str(name), run) for name, run in runs.items()]
    else:
        given = [(None, run) for run in ([runs] if isinstance(runs, str | Path | AuditReport) else runs)]
    if not given:
        raise InputError("no run to judge: name one finished audit or more")
    records = [record_of(run, f"run {number}") for number, (_, run) in enumerate(given, start=1)]
    folders = [_folder_of(run) for _, run in given]
    placed = [folder.resolve() for folder in folders if folder is not None]
    twice = next((folder for folder in placed if placed.count(folder) > 1), None)
    if twice is not None:
        raise InputError(f"the run {twice.name} came twice; name each run once")
    names = _names([name for name, _ in given], folders, records)
    return judge_models(written, names, records, folders)


def judge_models(
    written: WrittenRequirements,
    names: Sequence[str],
    records: Sequence[RunRecord],
    folders: Sequence[Path | None] | None = None,
) -> RequirementsTable:
    """The same of runs that were read.

    Args:
        written: the requirements.
        names: of the models. records: their audits. folders: where these lie, for commands.

    Raises:
        InputError: a requirement names a figure that no audit has, or a baseline cannot be read.
    """
    places = folders or [None] * len(records)
    check_figures(written.requirement, [record.report for record in records])
    baselines = {one.baseline: RunRecord.read(one.baseline) for one in written.requirement if one.baseline is not None}
    rows = [
        RequiredRow(
            id=one.id,
            text=one.text,
            metric=one.shown_metric,
            source=one.source,
            cells=tuple(
                required_cell(one, record, place, baselines) for record, place in zip(records, places, strict=True)
            ),
        )
        for one in written.requirement
    ]
    models = [
        _model(name, record, rows, place) for place, (name, record) in enumerate(zip(names, records, strict=True))
    ]
    return RequirementsTable(
        title=written.title, models=tuple(models), rows=tuple(rows), notes=(*NOTES, *_unlike(names, records))
    )


def check_figures(written: Sequence[WrittenRequirement], reports: Sequence[AuditReport]) -> None:
    """Refuse a requirement on a figure that neither a run has nor any check gives.

    Raises:
        InputError: a name that is none, with the nearest ones, or a margin of a figure without a better side.
    """
    kinds = {column.name for one in reports if one.eye_chart is not None for column in one.eye_chart.columns}
    names = {name for one in reports for name in one.metrics}
    open_checks = set()
    for name, check in CHECKS.items():
        known = check().figure_names()
        names |= known or set()
        if known is None:
            open_checks.add(name)
    names |= {f"{ACUITY}.{kind}" for kind in (*_kinds_of_damage(), *kinds)}
    names |= {f"{FINDINGS}.{level}" for level in LEVELS}
    for one in written:
        relation = one.relation
        name = one.metric.strip() if relation is None else relation.name
        if relation is None and not direction(name):
            raise InputError(f"requirement {one.id}: {name} has no better side, so that it cannot be worse")
        group = name.partition(".")[0]
        of_open = group in open_checks and may_be_given(name)
        margin_of_a_class = relation is None and group == "class"
        if name in names or of_open or margin_of_a_class or _by_settings(name):
            continue
        forms = {found.name for found in meanings().values() if found.check in open_checks}
        near = difflib.get_close_matches(name, sorted(names | forms), n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(map(repr, near))}?" if near else "snellen audit shows the names of its figures"
        )
        raise InputError(f"requirement {one.id}: no audit has a figure {name!r}; {hint}")


def _by_settings(name: str) -> bool:
    """Whether the checks of corruption and attacks give such a figure under settings of their own.

    >>> [_by_settings(f"corruption.{one}") for one in ("fog.2.5.accuracy", "edema.absent.fog.error", "fgo.error")]
    [True, True, False]
    """
    found = _UNDER_SETTINGS.fullmatch(name)
    return found is not None and {found["kind"], found["of_label"]} <= {None, *_kinds_of_damage()}


def _kinds_of_damage() -> frozenset[str]:
    return frozenset(kind for known in kinds_by_benchmark().values() for kind in known)


def _folder_of(run: Path | str | AuditReport) -> Path | None:
    return run.folder if isinstance(run, AuditReport) else Path(run)


def _names(given: Sequence[str | None], folders: Sequence[Path | None], records: Sequence[RunRecord]) -> list[str]:
    """A name for each model, and no two alike."""
    plain = [name or str(record.report.model["name"]) for name, record in zip(given, records, strict=True)]
    found: list[str] = []
    for name, folder in zip(plain, folders, strict=True):
        alike = plain.count(name) > 1 and folder is not None
        base = f"{name} ({folder.resolve().name})" if alike and folder is not None else name
        shown, number = base, 2
        while shown in found:
            shown, number = f"{base} {number}", number + 1
        found.append(shown)
    return found


def _model(name: str, record: RunRecord, rows: Sequence[RequiredRow], place: int) -> RequiredModel:
    verdicts = [row.cells[place].verdict for row in rows]
    return RequiredModel(
        name=name,
        identity=record.report.model.get("identity"),
        data=str(record.report.data["name"]),
        fingerprint=record.fingerprint,
        images=int(record.report.data["used"]),
        counts={verdict: verdicts.count(verdict) for verdict in VERDICTS},
    )


def _unlike(names: Sequence[str], records: Sequence[RunRecord]) -> list[str]:
    """A note where models were audited on other images than the first one."""
    other = [name for name, one in zip(names, records, strict=True) if not same_set(records[0], one)]
    if not other:
        return []
    return [
        f"{', '.join(other)} {'was' if len(other) == 1 else 'were'} audited on other images than {names[0]}: a "
        f"difference between them may come from the images."
    ]
