"""treated.html: before and after on the same images, one self-contained page under a strict content security policy."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from snellen.auditing.compare.run_record import RunRecord
from snellen.checks.per_image import ABSENT
from snellen.core import package
from snellen.core.classifier import Classifier
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_image
from snellen.metrics.sweep import setting_name
from snellen.verbs.treated import Treated, TreatedFinding

PAGE = "treated.html"

#: Pictures of a finding that are shown, and bytes of all pictures as base64.
SHOWN, PICTURE_BYTES = 8, 3_000_000


@dataclass(frozen=True)
class Picture:
    """One image that showed a finding, and the decisions of both classifiers.

    Attributes:
        source: the picture as the classifier saw it, as a data address.
        label: name of its class.
        before: decision of the classifier as it was.
        after: decision of the treated one.
    """

    source: str
    label: str
    before: str
    after: str


@dataclass(frozen=True)
class Bar:
    """The quantity of a finding before and after, as places on a line from 0 to 100."""

    before: float
    after: float


def render_treated(
    treated: Treated, classifier: Classifier, images: ImageSet | None, before: RunRecord, after: RunRecord
) -> str:
    """Render the page; every name in it is data and is escaped.

    Args:
        treated: the result.
        classifier: as it was.
        images: that both were compared on; None: no picture of them may be shown.
        before: audit of the classifier as it was, with pictures.
        after: audit of the treated one on the same images.
    """
    style = "".join(map(package.text, ("auditing/templates/parts.css", "verbs/templates/treated.css")))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(package.text("verbs/templates/treated.html.j2"))
    found = {one.key: one for one in before.report.findings}
    budget, pictures = PICTURE_BYTES, dict[str, list[Picture]]()
    for one in treated.findings:
        if images is not None and budget > 0 and one.outcome != "untreated":
            shown = _damaged(found[one.key], before, after) if one.key in found else []
            pictures[one.key] = shown or _changed(one.key, classifier, images, before, after)
            budget -= sum(len(picture.source) for picture in pictures[one.key])
    return template.render(
        treated=treated,
        name=classifier.name,
        verdict=verdict(treated),
        pictures=pictures,
        bars={one.key: bar for one in treated.findings if (bar := _bar(one, treated.findings)) is not None},
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )


def verdict(treated: Treated) -> str:
    """How many findings became what, and the accuracy, in a sentence or two."""
    counts: dict[str, int] = {}
    for one in treated.findings:
        counts[one.outcome] = counts.get(one.outcome, 0) + 1
    words = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    cost = treated.cost
    if cost is None:
        return f"{words}. Nothing is delivered."
    return f"{words}. {treated.clean_words} {cost.first:.1%} before, {cost.second:.1%} after."


def _bar(one: TreatedFinding, findings: Sequence[TreatedFinding]) -> Bar | None:
    if one.first is None or one.second is None:
        return None
    most = max(max(each.first or 0, each.second or 0) for each in findings) or 1.0
    return Bar(*(100 * min(max(value, 0.0) / most, 1.0) for value in (one.first, one.second)))


def _damaged(finding: Finding, before: RunRecord, after: RunRecord) -> list[Picture]:
    """Examples of damage whose pictures the first audit kept, with both decisions under the same damage."""
    evidence = [record.evidence.get("corruption") for record in (before, after)]
    if finding.kind != "corruption" or evidence[0] is None or evidence[1] is None:
        return []
    setting = setting_name(str(finding.facts["corruption"]), float(finding.facts["worst_severity"]))
    decided = [
        dict(zip(record.images.ids, record.images.decisions(one, setting)[0].tolist(), strict=True))
        for record, one in zip((before, after), evidence, strict=True)
        if one is not None
    ]
    labels = dict(zip(before.images.ids, before.images.labels.tolist(), strict=True))
    names, files = before.class_names, before.report.pictures()
    found = []
    for example in finding.examples[:SHOWN]:
        file = files.get(example.after or "")
        if file is not None and example.example_id in labels:
            words = [_name(each.get(example.example_id, ABSENT), names) for each in decided]
            found.append(Picture(_address(file), _name(labels[example.example_id], names), words[0], words[1]))
    return found


def _changed(key: str, classifier: Classifier, images: ImageSet, before: RunRecord, after: RunRecord) -> list[Picture]:
    """Images on which the decision changed, those that are right now first; of the class that a finding is about.

    Of several labels an image, the decision about the label that the finding is about.
    """
    kind, _, subject = key.partition(":")
    names, earlier, known = before.class_names, before.images, after.images
    if known.sets is not None:
        if subject not in names:
            return []
        earlier, known = (one.of_label(names.index(subject)) for one in (earlier, known))
        names = (f"no {subject}", subject)
    first = dict(zip(earlier.ids, earlier.predictions.tolist(), strict=True))
    rows = [
        (one, label, first[one], now)
        for one, label, now in zip(known.ids, known.labels.tolist(), known.predictions.tolist(), strict=True)
        if one in first and first[one] != now and (kind != "worst_class" or _name(label, names) == subject)
    ]
    rows.sort(key=lambda row: (row[3] != row[1], row[0]))
    places = {one: row for row, one in enumerate(images.ids)}
    found = []
    for one, label, was, now in rows[:SHOWN]:
        stored = io.BytesIO()
        to_image(classifier.preparation.pixels(images.read(places[one]))).save(stored, "WEBP", lossless=True)
        found.append(Picture(_address(stored.getvalue()), _name(label, names), _name(was, names), _name(now, names)))
    return found


def _address(picture: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"


def _name(label: int, names: Sequence[str]) -> str:
    return names[label] if label >= 0 else "–"
