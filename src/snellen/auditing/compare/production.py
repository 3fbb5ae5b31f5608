"""The verb ``snellen.monitor``: accuracy and drift on images without labels, against an audit with labels."""

from __future__ import annotations

import datetime
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from snellen.auditing.audit import audit
from snellen.auditing.compare.pairing import check_alike
from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.compare.sample_size import record_of
from snellen.auditing.report import AuditReport
from snellen.auditing.subject import recorded_classifier
from snellen.checks.check import Measured
from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.run import canonical_json, write_atomically
from snellen.metrics.clustered import clustered_share
from snellen.metrics.inspection.drift import FEWEST_UNITS, feature_drift
from snellen.metrics.inspection.foreign_share import foreign_share
from snellen.metrics.sample_size import images_for_width
from snellen.metrics.shifted_accuracy import Decisions, shifted_accuracy
from snellen.runs.given import Images, given_images

#: Length of the windows over time.
Every = Literal["day", "week", "month", "quarter", "year"]
EVERY: tuple[Every, ...] = ("day", "week", "month", "quarter", "year")

#: Level below which drift beyond another mix of classes is called shown.
LEVEL = 0.01

#: Lower bounds from which on no accuracy is estimated: of the area with which a simple classifier separates the images
#: from audited ones of the same mix of classes, and of the share of images that no audited image is like.
REFUSED_AREA, REFUSED_SHARE = 0.9, 0.1

#: Images that a window should have on average, where its length is not named, and least that are judged.
PER_WINDOW, FEWEST = 100, FEWEST_UNITS

#: Resamples of an estimate, and classes from which on a quarter of them is taken.
RESAMPLES, MANY = 200, 100

#: Permutations of the drift test.
PERMUTATIONS = 199

#: Width of the interval that labelling is advised for.
ADVISED_WIDTH = 0.1

Judged = Literal["estimated", "uncertain", "refused", "too few"]

NOTES = (
    "No labels were used: the accuracy is estimated, from labelled images of another mix. The interval joins two, of "
    "which one supposes that the images of each class look as in the audit (another mix of classes), the other that "
    "equal confidences are equally often right (another mix of easy and hard images). It holds where one of them does.",
    "Uncertain: the decisions or the features differ from every mix of the audited classes (p below 1 %), so that the "
    "interval rests on the second supposition alone; of images that are like no audited one it supposes that all may "
    "be wrong. Where nothing shifted, about two windows in a hundred are called so.",
    "Refused: a simple classifier separates the images from audited ones of the same mix of classes with an area of "
    "0.9 or more, or at least 10 % of them are like no audited image (lower ends of 95 % intervals). No estimate is "
    "worth anything then: label some. Errors that change neither decisions nor features cannot be seen without labels.",
)


class Window(BaseModel):
    """Images of a stretch of time, or all of them, without labels.

    Attributes:
        start, end: first and last day; None for all images.
        images: that could be used. units: independent units of them.
        verdict: whether the accuracy could be estimated.
        accuracy: the estimate with its 95 % interval. by_classes, by_confidence: under each supposition.
        area: of a simple classifier between these images and audited ones of the same mix of classes; 0.5 is chance.
        foreign: share of images like no audited one, beyond what is usual.
        p_value: of "the decisions, and the features, are a mix of the audited classes".
        reason: of the verdict, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: str | None = None
    end: str | None = None
    images: int
    units: int
    verdict: Judged
    accuracy: Measured | None = None
    by_classes: Measured | None = None
    by_confidence: Measured | None = None
    area: Measured | None = None
    foreign: float | None = None
    foreign_low: float | None = Field(None, description="lower end of the 95 % interval")
    p_value: float | None = None
    reason: str = ""


class Monitoring(BaseModel):
    """What is known of production images without labels. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        model: its name. audited: name of the labelled images. data: name of the production images.
        audited_accuracy: on the labelled images.
        whole: all images together. windows: by time, in order; empty without dates.
        every: length of the windows.
        shares: estimated shares of the classes in all production images, and in the audited ones, by class.
        to_label: images whose labels would give an interval of ten points, with the audited accuracy.
        notes: how to read it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    audited: str
    data: str
    audited_accuracy: Measured
    whole: Window
    every: Every | None = None
    windows: tuple[Window, ...] = ()
    shares: dict[str, tuple[float, float]] = Field(default_factory=dict)
    to_label: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return self.model_dump(mode="json")

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
    classifier: Classifier | None = None,
    dates: str | Sequence[object] | None = None,
    every: Every | None = None,
    columns: Mapping[str, str] | None = None,
    out: Path | str | None = None,
    batch_size: int = 64,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Monitoring:
    """Estimate the accuracy on images without labels, and how far they drifted from an audited set.

    Labels of the images, if they have any, are not read.

    Args:
        run: a finished audit of labelled images: its directory, or its report.
        images: from production: what :func:`snellen.load_images` takes, or the directory of a finished audit of them by
            the same model.
        classifier: the audited model, where the run does not say how it was loaded.
        dates: a column of the table or manifest of the images, or one date for each image (``date`` objects or ISO
            texts such as ``2026-11-30``): the same over time.
        every: length of the windows. None: the shortest whose windows have 100 images on average.
        columns: what the columns of a table mean, such as ``{"unit": "patient"}``.
        out: folder for the audit without labels, which is resumed, and for the result. None: nothing is kept.
        batch_size: images in one pass. limit: take at most so many images, drawn at random.
        seed: of that draw, and of the tests.
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
        if dates is not None:
            raise InputError("dates come with images, and a run directory was named: name the images themselves")
        new, name, days = _of_run(record, RunRecord.read(images))
    else:
        given = given_images(images, columns=columns)
        if limit is not None:
            given = given.limit(limit, seed)
        by_image = None if dates is None else _days(dates, given.ids, given.column)
        model = classifier if classifier is not None else recorded_classifier(_folder(run), record.plan)
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
        name, days = given.name, by_image
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
    reference = _Reference(known, len(record.class_names), seed)
    whole, shares = reference.judged(new, None)
    windows: list[Window] = []
    notes = list(NOTES)
    length = None
    if days is not None:
        dated = [(days[key], row) for row, key in enumerate(new.ids) if days.get(key) is not None]
        if not dated:
            raise InputError("no image that could be used has a date; name the column that holds them")
        undated = len(new) - len(dated)
        if undated:
            notes.append(f"{undated} images have no date; they are in the whole and in no window.")
        length = every or _length([day for day, _ in dated if day is not None])
        by_window: dict[datetime.date, list[tuple[datetime.date, int]]] = {}
        for day, row in dated:
            assert day is not None
            by_window.setdefault(_begin(day, length), []).append((day, row))
        for begin in sorted(by_window):
            inside = by_window[begin]
            rows = np.array(sorted(row for _, row in inside), dtype=np.int64)
            span = min(day for day, _ in inside).isoformat(), max(day for day, _ in inside).isoformat()
            windows.append(reference.judged(new.select(rows), span)[0])
    refused = [one for one in windows if one.verdict == "refused"]
    if refused and whole.verdict != "refused":
        reason = f"{len(refused)} of {len(windows)} windows cannot be judged, the first from {refused[0].start}"
        none = {"accuracy": None, "by_classes": None, "by_confidence": None}
        whole, shares = whole.model_copy(update={**none, "verdict": "refused", "reason": reason}), None
    low, high = clustered_share(known.correct, known.units)
    accuracy = Measured(value=float(known.correct.mean()), low=low, high=high, n=len(known))
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
        to_label=images_for_width(ADVISED_WIDTH, min(max(accuracy.value, 0.02), 0.98)),
        notes=tuple(notes),
    )


@dataclass(frozen=True, eq=False)
class _Reference:
    """The audited images, and how others are judged by them."""

    known: PerImage
    classes: int
    seed: int

    def judged(self, new: PerImage, span: tuple[str, str] | None) -> tuple[Window, NDArray[np.float64] | None]:
        """The window of some images, and the estimated shares of the classes where they could be estimated."""
        units = len(set(new.unit_ids))
        start, end = span or (None, None)
        window = Window(start=start, end=end, images=len(new), units=units, verdict="too few")
        if units < FEWEST:
            reason = f"{units} independent images or units; {FEWEST} are needed"
            return window.model_copy(update={"reason": reason}), None
        found = shifted_accuracy(
            _decisions(self.known, labels=True),
            _decisions(new, labels=False),
            self.classes,
            # A thousand classes take a minute with all of them.
            resamples=RESAMPLES if self.classes <= MANY else RESAMPLES // 4,
            seed=self.seed,
        )
        first, second = _features(self.known, new)
        area, p_value, excess, low = self._drift(first, second, new, found.shares)
        joint = min(2 * min(p_value, found.fit_p_value), 1.0)
        values = {
            "area": area,
            "foreign": excess,
            "foreign_low": low,
            "p_value": joint,
        }
        if low >= REFUSED_SHARE or (area is not None and area.low >= REFUSED_AREA):
            reason = f"at least {low:.0%} of the images are like no audited image"
            if low < REFUSED_SHARE and area is not None:
                reason = (
                    f"a simple classifier separates them from audited images of the classes (area {area.value:.2f})"
                )
            return window.model_copy(update={**values, "verdict": "refused", "reason": reason}), None
        n = len(new)
        # Images like no audited one may all be wrong.
        ends = max(found.interval.low - max(excess, 0.0), 0.0), found.interval.high
        estimates = {
            "accuracy": _measured(found.value, ends, n),
            "by_classes": _measured(*found.by_classes, n),
            "by_confidence": _measured(*found.by_confidence, n),
        }
        drifted = joint < LEVEL
        words = (
            "they differ from every mix of the audited classes"
            if drifted
            else "a mix of the audited classes explains them"
        )
        verdict = "uncertain" if drifted else "estimated"
        return window.model_copy(update={**values, **estimates, "verdict": verdict, "reason": words}), found.shares

    def _drift(
        self, first: NDArray[np.floating], second: NDArray[np.floating], new: PerImage, shares: NDArray[np.float64]
    ) -> tuple[Measured | None, float, float, float]:
        """Area and p value against audited images of the same mix of classes, and the share of foreign images."""
        labels = self.known.labels
        held = np.bincount(labels, minlength=self.classes) / len(labels)
        weights = np.divide(shares, held, out=np.zeros(self.classes), where=held > 0)[labels]
        foreign = foreign_share(first, second, weights, new.units, known_units=self.known.units, seed=self.seed)
        # Thinned by unit, so that images of one unit stay or go together as far as their classes allow.
        codes = self.known.units if self.known.units is not None else np.arange(len(labels))
        drawn = np.random.default_rng(self.seed).random(int(codes.max()) + 1)[codes]
        kept = drawn * weights.max() < weights
        units = len(np.unique(codes[kept]))
        if units < FEWEST_UNITS:
            return None, 1.0, foreign.excess, foreign.low
        found = feature_drift(
            first[kept],
            second,
            first_units=None if self.known.units is None else codes[kept],
            second_units=new.units,
            permutations=PERMUTATIONS,
            seed=self.seed,
        )
        ends = found.interval
        area = Measured(value=found.auroc, low=max(ends.low, 0.0), high=min(ends.high, 1.0), n=len(new))
        return area, found.p_value, foreign.excess, foreign.low


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


def _of_run(record: RunRecord, other: RunRecord) -> tuple[PerImage, str, Mapping[str, datetime.date | None] | None]:
    check_alike(record, other.class_names, str(other.report.model["task"]), names=("run", "run of production images"))
    first, second = (one.plan["model"]["fingerprint"] for one in (record, other))
    if first is None or first != second:
        raise InputError("the run of production images is of another model than the audit: audit both with one model")
    if other.class_names != record.class_names:
        raise InputError("the two runs have the classes in another order; audit both with one model")
    return other.images, str(other.report.data["name"]), None


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


def _decisions(images: PerImage, *, labels: bool) -> Decisions:
    if images.confidence is None:
        raise InputError("the model gave no confidences for the images")
    return Decisions(images.predictions, images.confidence, images.units, images.labels if labels else None)


def _features(known: PerImage, new: PerImage) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Features of both sets, of the last layer where both have them, else the scores."""
    if known.features is not None and new.features is not None and known.features.shape[1] == new.features.shape[1]:
        return known.features, new.features
    if known.scores is None or new.scores is None:
        raise InputError("neither features nor scores of both sets are known: run the audit again")
    return known.scores, new.scores


def _measured(value: float, interval: tuple[float, float], n: int) -> Measured:
    return Measured(value=value, low=interval[0], high=interval[1], n=n)


def _days(
    dates: str | Sequence[object],
    ids: Sequence[str],
    column: Any,  # noqa: ANN401 - a method of the set
) -> dict[str, datetime.date | None]:
    """The day of each image by id."""
    values = column(dates) if isinstance(dates, str) else list(dates)
    if isinstance(dates, str) and all(value is None for value in values):
        raise InputError(f"the images have no column {dates!r} with dates; name one that their table holds")
    if len(values) != len(ids):
        raise InputError(f"{len(values)} dates came for {len(ids)} images; give one for each, or None")
    return {key: _day(value) for key, value in zip(ids, values, strict=True)}


def _day(value: object) -> datetime.date | None:
    """A day from a date, a time, or an ISO text.

    >>> _day("2026-11-30T08:00:00"), _day("2026-11-30"), _day(None)
    (datetime.date(2026, 11, 30), datetime.date(2026, 11, 30), None)
    """
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    text = str(value).strip()
    try:
        return datetime.datetime.fromisoformat(text[:-1] if text.endswith("Z") else text).date()
    except ValueError as error:
        raise InputError(f"{text[:40]!r} is no date; expected ISO 8601, such as 2026-11-30") from error


def _begin(day: datetime.date, every: Every) -> datetime.date:
    """First day of the window that holds a day.

    >>> _begin(datetime.date(2026, 11, 28), "week"), _begin(datetime.date(2026, 11, 28), "quarter")
    (datetime.date(2026, 11, 23), datetime.date(2026, 10, 1))
    """
    if every == "day":
        return day
    if every == "week":
        return day - datetime.timedelta(days=day.weekday())
    months = {"month": 1, "quarter": 3, "year": 12}[every]
    return datetime.date(day.year, (day.month - 1) // months * months + 1, 1)


def _length(days: Sequence[datetime.date]) -> Every:
    """The shortest windows that have enough images on average."""
    for every in EVERY:
        if len(days) / len({_begin(day, every) for day in days}) >= PER_WINDOW:
            return every
    return EVERY[-1]
