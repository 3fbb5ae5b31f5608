"""From merged evidence to a report: what each check concludes, judged together, with the pictures of findings.

A fingerprint holds a thumbnail of 16 × 16 pixels, which is a picture of the image. Where none may be kept, the images
that were used are read a second time instead; how images are batched does not change a fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from snellen.auditing.by_label import conclude_by_label, illustrate_by_label
from snellen.auditing.checks import base_check
from snellen.auditing.checks.clean import Clean
from snellen.auditing.report import AuditReport, CheckStatus, Judged
from snellen.auditing.shard_work import CLEAN, make_batch
from snellen.checks.check import Batch, Check, CheckInput, CheckResult, Companion, LackedSetting, WholeSet
from snellen.checks.eye_chart import EyeChart, chance_level
from snellen.checks.hypothesis import FALSE_DISCOVERY_RATE, confirmed
from snellen.checks.panels import keep_picture
from snellen.checks.per_image import PerImage
from snellen.checks.treatments import ONLY_PREDICTIONS, ladder, treatments
from snellen.core.classifier import Classifier
from snellen.core.deep_picture import stack_pixels
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding, rank
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.run_plan import describe
from snellen.data.files.costs import regrets
from snellen.data.loading import prepared_batches
from snellen.data.rejections import counted_reasons
from snellen.metrics.inspection.fingerprints import Fingerprints, fingerprint


def with_fingerprints(
    known: PerImage, images: ImageSet, classifier: Classifier, *, batch_size: int, workers: int
) -> PerImage:
    """What is known of the usable images, with their fingerprints; as it is where no check needs any.

    Batches are those of the audit, so that the same images are usable again, and come in the same order.

    Raises:
        InputError: an image that was readable before is not any more.
    """
    if known.fingerprints is not None or known.pixel_hashes is None:
        return known
    wanted, parts = set(known.ids), list[Fingerprints]()
    for loaded in prepared_batches(images, classifier.preparation, batch_size, workers=workers):
        # Images that were set aside for their scores are read again, but are not among the used ones.
        used = [at for at, key in enumerate(loaded.ids) if key in wanted]
        if used:
            parts.append(fingerprint(to_unit(loaded.pixels[used]).to(classifier.device)))
    lost = len(known) - sum(map(len, parts))
    if lost:
        raise InputError(f"{lost} of {len(known)} images of {images.name} were readable before and are not any more")
    return replace(known, fingerprints=Fingerprints.joined(parts))


def illustrate_findings(
    findings: Sequence[Finding],
    makers: Mapping[int, Check],
    classifier: Classifier,
    images: ImageSet,
    rng: Randomness,
) -> tuple[list[Finding], dict[str, bytes]]:
    """Add pictures to the examples of findings.

    Args:
        makers: for each finding, by position, the check that made it.

    Returns:
        The findings with picture names (sha256), and the pictures by name.
    """
    blobs: dict[str, bytes] = {}
    position = {key: index for index, key in enumerate(images.ids)}
    illustrated = []
    for number, finding in enumerate(findings):
        # What a check has drawn itself, before and after, is of no audited image.
        if all(example.image is not None for example in finding.examples):
            illustrated.append(finding)
            continue
        try:
            batch = _batch(classifier, images, [position[e.example_id] for e in finding.examples], rng)
        except RejectedImageError:
            # A file that was readable before is not any more: the finding stands on its evidence, without pictures.
            illustrated.append(finding)
            continue
        several = classifier.task == "multilabel"
        maker = makers[number]
        changed = illustrate_by_label(maker, finding, batch) if several else maker.illustrate(finding, batch)
        examples = []
        for row, example in enumerate(finding.examples):
            before = keep_picture(blobs, batch.images[row])
            # A search that is made again may fail where scores differ in the last digit: then there is no picture.
            same = changed is None or torch.equal(changed[row], batch.images[row])
            # Where a check changes nothing again, what it showed itself stays.
            after = example.after if changed is None or same else keep_picture(blobs, changed[row])
            examples.append(example.model_copy(update={"image": before, "after": after}))
        illustrated.append(finding.model_copy(update={"examples": tuple(examples)}))
    return illustrated, blobs


def _batch(classifier: Classifier, images: ImageSet, rows: Sequence[int], rng: Randomness) -> Batch:
    chosen = images.select(np.asarray(rows))
    pixels = stack_pixels([classifier.preparation.pixels(chosen.read(row)) for row in range(len(chosen))])
    batch, lost = make_batch(
        classifier, chosen.ids, chosen.column("unit_id"), pixels, chosen.known_labels, rng, originals=chosen
    )
    if batch is None or lost:
        raise RejectedImageError(f"an image changed while the audit ran: {chosen.ids}")
    return batch


NOTES = (
    "Intervals are 95 %. Where images come in units (column unit_id: patient, lot, video), units count as independent "
    "and images of one unit do not; without units, images do.",
    "Findings with a p value were chosen among all hypotheses that this audit tested (Benjamini and Hochberg). On "
    "average at most 5 % of them are false. Findings without one were counted, not inferred.",
    "Harm is the lower bound of the error under the condition minus that of its control, times the share of the images "
    "concerned. The bound holds for 95 % of the reported findings (Benjamini and Yekutieli). For calibration it "
    "is the share of the decisions by which right ones and stated confidences differ. For a classifier that hardly "
    "does more than guess it is the lower bound of the error rate.",
)


@dataclass(frozen=True, eq=False)
class Gathered:
    """What a run measured.

    Attributes:
        evidence: by check; the clean evidence, and that of every check that measures something of its own.
        companions: clean evidence of training and validation images, with their image sets.
        rejected: id and reason of each image that could not be used.
        skipped: why each check could not run, or None.
        wholes: training and validation images before they were limited in size.
        notes: what else a reader must know.
        drawn_from: images that the audited ones were drawn from; None where nobody knows.
        unread: of training and validation images, reasons and how often each; sets that could be used whole are absent.
    """

    evidence: Mapping[str, Evidence]
    companions: Mapping[Companion, tuple[Evidence, ImageSet]]
    rejected: Sequence[Mapping[str, str]]
    skipped: Mapping[str, str | None]
    wholes: Mapping[Companion, WholeSet] = field(default_factory=dict)
    notes: Sequence[str] = ()
    drawn_from: int | None = None
    unread: Mapping[Companion, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Files:
    """What lies beside a report; see :class:`~snellen.checks.check.CheckResult`."""

    pictures: Mapping[str, bytes]
    lists: Mapping[str, Sequence[Mapping[str, object]]]
    tables: Mapping[str, Sequence[Mapping[str, object]]]
    arrays: Mapping[str, Mapping[str, NDArray]]


def conclude(
    classifier: Classifier,
    images: ImageSet,
    plan: Mapping[str, Any],
    checks: Sequence[Check],
    gathered: Gathered,
    rng: Randomness,
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> tuple[AuditReport, Files]:
    """The report and the files beside it from the evidence; no pictures and arrays if the plan saves no images."""
    pictured = bool(plan["save_images"])

    def read(evidence: Evidence, given: ImageSet) -> PerImage:
        known = PerImage.of(evidence, given)
        if pictured:
            return known
        return with_fingerprints(known, given, classifier, batch_size=plan["batch_size"], workers=workers)

    known = with_costs(read(gathered.evidence[CLEAN], images), checks)
    usable = {name: _with_features(read(*measured)) for name, measured in gathered.companions.items()}
    companions = {name: found for name, (found, _) in usable.items()}
    running = [check for check in checks if gathered.skipped[check.name] is None]
    conclusions, failures = dict[str, CheckResult](), dict[str, str]()
    with_features, without = _with_features(known)
    left_out = [f"{count} {words}" for words, count in _without_features(without, usable) if count]
    for check in running:
        reading = CheckInput(
            evidence=gathered.evidence.get(check.name, Evidence.merge([])),
            images=with_features if "features" in check.reads else known,
            classifier=classifier,
            companions=companions,
            companion_sets={name: given for name, (_, given) in gathered.companions.items()},
            wholes=gathered.wholes,
            rng=rng,
            data=str(plan["data"]["fingerprint"]),
            audited=images,
            pictured=pictured,
            progress=progress or Silent(),
        )
        try:
            several = classifier.task == "multilabel"
            conclusions[check.name] = conclude_by_label(check, reading) if several else check.conclude(reading)
        except InputError as error:
            # What one check cannot use must not cost the others, nor the hours that measured them.
            conclusions[check.name], failures[check.name] = CheckResult(), str(error)
    base = conclusions.get(base_check(classifier.task))
    if base is not None and base.skipped is not None:
        raise InputError(f"nothing can be concluded about {classifier.name} on {images.name}: {base.skipped}")
    several = classifier.task == "multilabel"
    findings, makers, tested = judge(
        running,
        conclusions,
        trained="train" in gathered.companions or (several and "val" in gathered.companions),
        treatable=several or classifier.task in ("single", "ordinal"),
        several=several,
        reopened=classifier.reference is not None and images.reference is not None,
        recorded=classifier.recorded,
    )
    sight = unseen(running, conclusions, makers, tested)
    pictures: dict[str, bytes] = {}
    if pictured:
        findings, pictures = illustrate_findings(findings, makers, classifier, images, rng)
    assumptions = tuple(dict.fromkeys(a for part in gathered.evidence.values() for a in part.assumptions))
    failed = {name: len(part.where(status="failed")) for name, part in gathered.evidence.items()}
    report = AuditReport(
        model=describe(classifier),
        data={
            **plan["data"],
            "used": len(known),
            "units": len(set(known.unit_ids)),
            "rejected": len(gathered.rejected),
            "labelled": images.has_labels,
            **_why_rejected(gathered.rejected),
            **({} if gathered.drawn_from in (None, len(images)) else {"drawn_from": gathered.drawn_from}),
            **({"unread": {name: dict(why) for name, why in gathered.unread.items()}} if gathered.unread else {}),
        },
        metrics={name: figure for found in conclusions.values() for name, figure in found.metrics.items()},
        findings=tuple(findings),
        tested=tested,
        eye_chart=_eye_chart(known, conclusions, len(classifier.class_names)),
        panels=tuple(panel for found in conclusions.values() for panel in found.panels if pictured or not panel.heat),
        checks=tuple(
            _status(
                check.name, gathered.skipped[check.name] or conclusions[check.name].skipped, failures.get(check.name)
            )
            for check in checks
        ),
        notes=(
            *NOTES,
            *gathered.notes,
            *(note for found in conclusions.values() for note in found.notes),
            *assumptions,
            *(f"Check {name}: {n} rows failed, see the evidence." for name, n in failed.items() if n),
            *(
                [f"Checks that read features leave out {' and '.join(left_out)} whose features are not finite."]
                if left_out
                else []
            ),
        ),
        sight=sight,
    )
    if pictured:
        pictures |= {key: blob for found in conclusions.values() for key, blob in found.pictures.items()}
    files = Files(
        pictures=pictures,
        lists={name: rows for found in conclusions.values() for name, rows in found.lists.items()},
        tables={name: rows for found in conclusions.values() for name, rows in found.tables.items()},
        arrays={name: one for found in conclusions.values() for name, one in found.arrays.items()} if pictured else {},
    )
    return report, files


def with_costs(known: PerImage, checks: Sequence[Check]) -> PerImage:
    """What is known of the images, with what errors cost where the audit was given that."""
    costs = next((check.costs for check in checks if isinstance(check, Clean)), None)
    return known if costs is None else replace(known, costs=regrets(costs))


def _why_rejected(rejected: Sequence[Mapping[str, str]]) -> dict[str, dict[str, int]]:
    """How many images were rejected for which reason; nothing where none was."""
    return {"rejected_reasons": counted_reasons(row["reason"] for row in rejected)} if rejected else {}


def _with_features(known: PerImage) -> tuple[PerImage, int]:
    """The images whose features are finite, and how many are not; all images where none is, for the check to refuse."""
    if known.features is None:
        return known, 0
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(known.features).all(axis=1))
    if finite.all() or not finite.any():
        return known, 0
    return known.select(finite), int((~finite).sum())


def _without_features(audited: int, companions: Mapping[Companion, tuple[PerImage, int]]) -> list[tuple[str, int]]:
    """What images are called, and how many of them have features that are not finite."""
    return [("images", audited), *((f"{_CALLED[name]} images", count) for name, (_, count) in companions.items())]


#: What companions are called.
_CALLED: Mapping[Companion, str] = {"train": "training", "val": "validation"}


def _status(name: str, skipped: str | None, failure: str | None) -> CheckStatus:
    if skipped is not None:
        setting = skipped.setting if isinstance(skipped, LackedSetting) else None
        return CheckStatus(name=name, status="skipped", reason=str(skipped), setting=setting)
    return CheckStatus(name=name, status="done" if failure is None else "failed", reason=failure)


def judge(
    checks: Sequence[Check],
    conclusions: Mapping[str, CheckResult],
    *,
    trained: bool = False,
    treatable: bool = True,
    several: bool = False,
    reopened: bool = True,
    recorded: bool = False,
) -> tuple[list[Finding], dict[int, Check], Judged]:
    """Findings of all checks, ranked; the check that made each; and how many hypotheses were tested.

    ``trained`` says whether training images were given: see :func:`~snellen.checks.treatments.treatments`. A model that
    no command treats is not ``treatable``: findings keep what their checks advise. Of one that gives ``several`` labels
    an image, other treatments are known. What was an object is not ``reopened``: the command must name it. Predictions
    that were ``recorded`` cannot be treated without the model.
    """
    hypotheses = [(check, one) for check in checks for one in conclusions[check.name].hypotheses]
    held = confirmed([one for _, one in hypotheses], FALSE_DISCOVERY_RATE)
    made = [(found, check) for (check, _), found in zip(hypotheses, held, strict=True) if found is not None]
    chosen = len(made)
    made += [(found, check) for check in checks for found in conclusions[check.name].findings]
    if treatable:
        made = [(_with_treatments(one, trained, several, reopened, recorded), check) for one, check in made]
    findings = rank(found for found, _ in made)
    makers = {place: next(check for f, check in made if f is found) for place, found in enumerate(findings)}
    return findings, makers, Judged(hypotheses=len(hypotheses), findings=chosen, rate=FALSE_DISCOVERY_RATE)


def _with_treatments(finding: Finding, trained: bool, several: bool, reopened: bool, recorded: bool) -> Finding:
    """The command that treats it, then what its check advises; without either, what to do instead."""
    if finding.treatments and not ladder(finding.kind, several=several):
        return finding
    commands = treatments(finding, trained=trained, several=several, reopened=reopened)
    if recorded and ladder(finding.kind, several=several):
        commands = (ONLY_PREDICTIONS,)
    return finding.model_copy(update={"treatments": (*commands, *finding.treatments)})


def unseen(
    checks: Sequence[Check], conclusions: Mapping[str, CheckResult], makers: Mapping[int, Check], tested: Judged
) -> tuple[str, ...]:
    """What the checks that found nothing would have found: at the level that the first of all hypotheses must reach."""
    found = set(map(id, makers.values()))
    level = tested.rate / max(tested.hypotheses, 1)
    spoken = (say(level) for check in checks if id(check) not in found for say in conclusions[check.name].sight)
    return tuple(words for words in spoken if words is not None)


def _eye_chart(known: PerImage, conclusions: Mapping[str, CheckResult], classes: int) -> EyeChart | None:
    columns = tuple(column for found in conclusions.values() for column in found.columns)
    if not columns or not known.labelled.any():
        return None
    return EyeChart(
        clean_accuracy=float(known.correct[known.labelled].mean()),
        chance=chance_level(known.labels[known.labelled], classes),
        columns=columns,
    )
