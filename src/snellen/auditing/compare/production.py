"""The verb ``snellen.monitor``: accuracy and drift on images without labels, against an audit with labels."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from snellen.auditing.audit import audit
from snellen.auditing.compare.calendar_windows import EVERY, Every, begin_of, days_of, usual_length
from snellen.auditing.compare.pairing import check_alike
from snellen.auditing.compare.run_record import RunRecord, record_of
from snellen.auditing.compare.unlabelled_window import FEWEST, Reference, Window
from snellen.auditing.report import AuditReport
from snellen.auditing.subject import recorded_classifier
from snellen.checks.check import CheckFigure
from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.formats import FORMATS
from snellen.core.progress import Progress
from snellen.core.run import canonical_json, write_atomically
from snellen.data.factors import Columns
from snellen.metrics.clustered import clustered_share
from snellen.metrics.sample_size import images_for_width
from snellen.models.classifiers.references import load_classifier
from snellen.runs.given import Images, Model, given_classifier, given_images

#: Width of the interval that labelling is advised for.
ADVISED_WIDTH = 0.1

NOTES = (
    "No labels were used: the accuracy is estimated, from labelled images of another mix. The interval joins two. One "
    "supposes that the images of each class look as in the audit (another mix of classes). The other supposes that "
    "equal confidences are equally often right (another mix of easy and hard images). It holds where one of them does.",
    "Uncertain: the decisions or the features differ from every mix of the audited classes (p of 1 % or less). Then "
    "the interval rests on the second supposition alone. Or too few images of the classes were audited to test it. Of "
    "images that are like no audited one it supposes that all may be wrong. Where nothing shifted, about two windows "
    "in a hundred are called so.",
    "Refused: a simple classifier separates the images from audited ones of the same mix of classes with an area of "
    "0.9 or more. Or at least 10 % of them are like no audited image. Both are lower ends of 95 % intervals. No "
    "estimate is worth anything then: label some. Errors that change neither decisions nor features cannot be seen "
    "without labels.",
)


class Monitoring(BaseModel):
    """What is known of production images without labels. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        audited: the earlier run.
        data: the images without labels.
        windows: one for each span of time, or one.
        model: its name. audited: name of the labelled images. data: name of the production images.
        audited_accuracy: on the labelled images.
        whole: all images together. windows: by time, in order; empty without dates.
        every: length of the windows.
        shares: estimated shares of the classes in all production images, and in the audited ones, by class.
        to_label: images drawn at random whose labels give an interval of ten points at any accuracy.
        notes: how to read it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    audited: str
    data: str
    audited_accuracy: CheckFigure
    whole: Window
    every: Every | None = None
    windows: tuple[Window, ...] = ()
    shares: dict[str, tuple[float, float]] = Field(default_factory=dict)
    to_label: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON values, as ``monitoring.json`` holds them."""
        return FORMATS["monitoring.json"].stamped(self.model_dump(mode="json"))

    def __str__(self) -> str:
        from snellen.auditing.compare.production_page import monitoring_text

        return monitoring_text(self)

    @property
    def html(self) -> str:
        """The result as one page."""
        from snellen.auditing.compare.production_page import render_monitoring

        return render_monitoring(self)

    def to_markdown(self, file: Path | str | None = None) -> str:
        """The result as Markdown, also written to a file where one is named."""
        from snellen.auditing.compare.production_page import monitoring_markdown

        text = monitoring_markdown(self)
        if file is not None:
            write_atomically(Path(file), text.encode("utf-8", "replace"))
        return text

    def save(self, folder: Path | str) -> Path:
        """Write ``monitoring.json``, ``.html`` and ``.md``; returns the page."""
        place = Path(folder)
        write_atomically(place / "monitoring.json", canonical_json(self.to_json()))
        write_atomically(place / "monitoring.html", self.html.encode("utf-8", "replace"))
        self.to_markdown(place / "monitoring.md")
        return place / "monitoring.html"


def monitor(
    run: Path | str | AuditReport,
    images: Images,
    *,
    classifier: Model | None = None,
    dates: str | Sequence[object] | None = None,
    every: Every | None = None,
    columns: Columns | None = None,
    out: Path | str | None = None,
    batch_size: int = 64,
    limit: int | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: Progress | None = None,
) -> Monitoring:
    """Estimate the accuracy on images without labels, and how far they drifted from an audited set.

    Labels of the images, if they have any, are not read.

    Args:
        run: a finished audit of labelled images: its directory, or its report.
        images: from production: what :func:`snellen.load_images` takes, or the directory of a finished audit of them by
            the same model.
        classifier: the audited model, where the run does not say how it was loaded: what :func:`snellen.audit` takes.
        dates: a column of the table or manifest of the images, or one date for each image (``date`` objects or ISO
            texts such as ``2026-11-30``; None, NaN or NaT: not known): the same over time.
        every: length of the windows. None: the shortest whose windows have 100 images on average.
        columns: what the columns of a table mean, such as ``{"unit": "patient"}``.
        out: folder for the audit without labels, which is resumed, and for the result. None: nothing is kept.
        batch_size: images in one pass. limit: take at most so many images, drawn at random.
        seed: of that draw, and of the tests.
        device: where the model runs: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``. None: where the audit ran it, or where a
            ``classifier`` is.
        progress: callback that receives progress updates.

    Returns:
        Estimates, drift, and the same by time.

    Raises:
        InputError: the run has no labels or is of a segmenter, the model is another one, or a date cannot be read.
    """
    record = record_of(run, "run")
    known = _audited(record)
    if every is not None and dates is None:
        raise InputError("windows over time need the dates of the images: name their column (dates, --date)")
    if every is not None and every not in EVERY:
        raise InputError(f"windows last a {', '.join(EVERY)}, got {every!r}")
    if isinstance(images, str | Path) and (Path(images) / "manifest.json").is_file():
        beside = {"dates": dates, "columns": columns, "a limit": limit, "a classifier": classifier, "a device": device}
        unused = [name for name, one in beside.items() if one is not None]
        if unused:
            raise InputError(
                f"{' and '.join(unused)} came with a run directory, whose images were audited already; name the images "
                f"themselves"
            )
        new, name, days = *_of_run(record, RunRecord.read(images)), None
    else:
        given = given_images(images, columns=columns)
        days = None if dates is None else days_of(dates, given.ids, given.column)
        if limit is not None:
            given = given.limit(limit, seed)
        if days is not None and all(days[key] is None for key in given.ids):
            raise InputError(f"none of the {len(given)} images has a date; name the column that holds them")
        if classifier is None:
            model = recorded_classifier(_folder(run), record.plan, device)
        elif device is not None:
            if not isinstance(classifier, str | Path):
                raise InputError("device= moves a model that is loaded by its reference; move one in memory yourself")
            model = load_classifier(classifier, record.class_names, device=device)
        else:
            model = given_classifier(classifier, given, record.class_names)
        _check_model(record, model)
        checks = ["clean", "data_quality"] if known.features is not None else ["clean"]
        with tempfile.TemporaryDirectory() as kept:
            place = Path(kept) / "run" if out is None else Path(out) / "audit"
            audit(
                model,
                given.unlabelled(),
                out=place,
                checks=checks,
                batch_size=batch_size,
                seed=seed,
                save_images=False,
                progress=progress,
            )
            new = RunRecord.read(place).images
        name = given.name
    result = _monitoring(record, known, new, name, days, every, seed)
    if out is not None:
        result.save(out)
    return result


def _monitoring(
    record: RunRecord,
    known: PerImage,
    new: PerImage,
    name: str,
    days: Mapping[str, datetime.date | None] | None,
    every: Every | None,
    seed: int,
) -> Monitoring:
    reference = Reference(known, len(record.class_names), seed)
    whole, shares = reference.judged(new, None)
    windows: list[Window] = []
    notes = list(NOTES)
    length = None
    if days is not None:
        dated = [(day, row) for row, key in enumerate(new.ids) if (day := days.get(key)) is not None]
        if not dated:
            raise InputError("no image that could be used has a date; name the column that holds them")
        undated = len(new) - len(dated)
        if undated:
            notes.append(f"Images without a date: {undated}. They count in the whole, and in no window.")
        length = every or usual_length([day for day, _ in dated])
        by_window: dict[datetime.date, list[tuple[datetime.date, int]]] = {}
        for day, row in dated:
            by_window.setdefault(begin_of(day, length), []).append((day, row))
        for _, inside in sorted(by_window.items()):
            rows = np.array([row for _, row in inside], dtype=np.int64)
            taken = [day.isoformat() for day, _ in inside]
            windows.append(reference.judged(new.select(rows), (min(taken), max(taken)))[0])
    refused = [one for one in windows if one.verdict == "refused"]
    if refused and whole.verdict != "refused":
        reason = f"{len(refused)} of {len(windows)} windows cannot be judged, the first from {refused[0].start}"
        none = {"accuracy": None, "by_classes": None, "by_confidence": None}
        whole, shares = whole.model_copy(update={**none, "verdict": "refused", "reason": reason}), None
    low, high = clustered_share(known.correct, known.units)
    accuracy = CheckFigure(value=float(known.correct.mean()), low=low, high=high, n=len(known))
    held = np.bincount(known.labels, minlength=len(record.class_names)) / len(known)
    found = {} if shares is None else dict(zip(record.class_names, zip(shares, held, strict=True), strict=True))
    return Monitoring(
        model=str(record.report.model["name"]),
        audited=str(record.report.data["name"]),
        data=name,
        audited_accuracy=accuracy,
        whole=whole,
        every=length,
        windows=tuple(windows),
        shares={key: (round(float(one), 4), round(float(other), 4)) for key, (one, other) in found.items()},
        to_label=images_for_width(ADVISED_WIDTH, 0.5),
        notes=tuple(notes),
    )


def _audited(record: RunRecord) -> PerImage:
    """The labelled images of the run, with confidences."""
    if record.report.model["task"] not in ("single", "ordinal"):
        raise InputError(
            f"the run has the task {record.report.model['task']!r}; the accuracy without labels is estimated for "
            f"models that decide one class for each image"
        )
    known = record.images.select(record.images.labelled)
    if len(set(known.unit_ids)) < FEWEST:
        raise InputError(
            f"the run has {len(set(known.unit_ids))} labelled images or units; {FEWEST} are needed to judge others by"
        )
    if known.confidence is None or known.scores is None:
        raise InputError("the run kept no scores of its images: the model gives labels alone, or the run is too old")
    return known


def _of_run(record: RunRecord, other: RunRecord) -> tuple[PerImage, str]:
    check_alike(record, other.class_names, str(other.report.model["task"]), names=("run", "run of production images"))
    first, second = (one.plan["model"]["fingerprint"] for one in (record, other))
    if first is None:
        raise InputError("the audited model has no hash to know it by in another run; name the images themselves")
    if first != second:
        raise InputError("the run of production images is of another model than the audit: audit both with one model")
    if other.class_names != record.class_names:
        raise InputError("the two runs have the classes in another order; audit both with one model")
    return other.images, str(other.report.data["name"])


def _check_model(record: RunRecord, model: Classifier) -> None:
    expected = record.plan["model"]["fingerprint"]
    if expected is not None and model.fingerprint() != expected:
        raise InputError(
            f"{model.name} is not the classifier that the run audited: its weights or preparation differ; give that one"
        )


def _folder(run: Path | str | AuditReport) -> Path:
    folder = run.folder if isinstance(run, AuditReport) else Path(run)
    assert folder is not None  # record_of refused a report without one
    return folder
