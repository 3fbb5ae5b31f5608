"""The verb ``snellen.audit``: where a classifier fails on given images."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from snellen.auditing.check import Check
from snellen.auditing.checks import resolve_checks
from snellen.auditing.engine import NOT_FINITE, run_shards, shard_count
from snellen.auditing.html import render_report
from snellen.auditing.pictures import illustrate_findings
from snellen.auditing.plan import describe, plan_of
from snellen.auditing.report import AuditReport, CheckStatus
from snellen.classifier import Classifier
from snellen.data.labels import align_labels
from snellen.errors import InputError, ModelError
from snellen.evidence import Evidence
from snellen.finding import Finding, rank
from snellen.images import ImageSet
from snellen.progress import Progress, Silent
from snellen.randomness import Randomness
from snellen.run import Run, write_atomically

NOTES = (
    "Intervals are 95 % and count images as independent: Wilson for accuracies; consistency resampling and the "
    "bootstrap for the calibration error.",
    "Harm is a lower 95 % bound of accuracy lost, times the share of the images concerned. It is corrected "
    "(Bonferroni) for the classes, or for the corruptions, that one kind of finding tests, and not across kinds. For "
    "calibration it is read from a table: 0.005 from an error of 5 % on, 0.05 from 15 % on, both for certain. For a "
    "classifier that cannot be told from a constant answer it is the lower bound of the error rate.",
)


def audit(
    classifier: Classifier,
    images: ImageSet,
    *,
    out: Path | str | None = None,
    checks: Sequence[str | Mapping[str, Any] | Check] | None = None,
    batch_size: int = 64,
    workers: int = 0,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> AuditReport:
    """Audit a classifier on images.

    Args:
        classifier: the model; see :func:`snellen.load_classifier`.
        images: see :func:`snellen.load_images`. Labels are matched to the classifier's classes by name.
        out: run directory. An unfinished or finished run of the same plan in it is taken up, another plan is an error.
            A model that cannot be hashed (a plain callable, an edited model) is not taken up. None: nothing is kept.
        checks: names of checks, records (``{"check": "corruption", "benchmark": "bloodmnist"}``) or check objects; None
            means all. ``clean`` always runs.
        batch_size: images in one pass. Another batch size may change scores by about 1e-5.
        workers: threads that read images ahead; changes no result.
        limit: audit at most so many images, drawn at random by the seed.
        seed: of everything random.
        progress: who hears of progress.

    Returns:
        The report; ``report.folder`` is the run directory.

    Raises:
        InputError: the data is empty, all images are unusable, or the labels do not fit the classes.
        ModelError: the model gives scores that cannot be used.
        RunConflictError: ``out`` holds a run of another plan.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(f"batch_size must be at least 1 and workers at least 0, got {batch_size} and {workers}")
    started = time.perf_counter()
    if limit is not None:
        images = images.limit(limit, seed)
    if not len(images):
        raise InputError(f"{images.name} holds no images")
    if images.has_labels:
        images = align_labels(images, classifier.class_names)
    chosen = resolve_checks(checks)
    skipped = {check.name: check.missing(classifier, images) for check in chosen}
    if skipped["clean"] is not None:
        raise InputError(f"the check 'clean', which every other is compared with, cannot run: it {skipped['clean']}")
    running = [check for check in chosen if skipped[check.name] is None]
    rng, listener = Randomness(seed), progress or Silent()
    with ExitStack() as stack:
        keep = out is not None
        folder = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
        if (folder / "manifest.json").exists() and classifier.fingerprint() is None:
            raise InputError(
                f"{folder} holds a run, and {classifier.name} cannot be hashed (a plain callable, or an edited model): "
                f"nobody can tell whether it is the model of that run; choose another out"
            )
        run = Run.open(folder, plan_of(classifier, images, chosen, batch_size, seed, listener))
        seconds = run_shards(
            run,
            classifier,
            images,
            running,
            batch_size=batch_size,
            workers=workers,
            rng=rng,
            progress=listener,
        )
        shards = shard_count(len(images), batch_size)
        evidence = run.merge(shards, tuple(check.name for check in running))
        rejected = [row for shard in range(shards) for row in run.shard_extra(shard)["rejected"]]
        run.write_json("rejected.json", rejected)
        _check_usable(classifier, images, evidence["clean"], rejected)
        report, pictures = _conclude(classifier, images, run.plan, chosen, skipped, evidence, rejected, rng)
        run.write_json("report.json", report.to_json())
        for key, blob in pictures.items():
            run.write_blob(key, blob)
        write_atomically(folder / "report.html", render_report(report, evidence, pictures, rejected).encode())
        seconds["total"] = time.perf_counter() - started
        run.write_json("timing.json", {name: round(value, 3) for name, value in seconds.items()})
        return report.model_copy(update={"folder": folder if keep else None})


def _check_usable(
    classifier: Classifier, images: ImageSet, clean: Evidence, rejected: Sequence[Mapping[str, str]]
) -> None:
    """Refuse to report on nothing."""
    if len(clean):
        return
    first = f"first: {rejected[0]['id']}: {rejected[0]['reason']}"
    if all(row["reason"] == NOT_FINITE for row in rejected):
        raise ModelError(
            f"{classifier.name} gives no finite scores for any of {len(images)} images ({first}); check the weights "
            f"and the preprocessing"
        )
    raise InputError(f"none of the {len(images)} images of {images.name} could be used; {first}")


def _conclude(
    classifier: Classifier,
    images: ImageSet,
    plan: Mapping[str, Any],
    chosen: Sequence[Check],
    skipped: dict[str, str | None],
    evidence: dict[str, Evidence],
    rejected: Sequence[dict[str, str]],
    rng: Randomness,
) -> tuple[AuditReport, dict[str, bytes]]:
    """Metrics, findings and pictures from the merged evidence."""
    clean, metrics = evidence["clean"], {}
    made: list[tuple[Finding, Check]] = []
    for check in chosen:
        if check.name in evidence and len(evidence[check.name]):
            metrics.update(check.metrics(evidence[check.name], clean))
            found = check.findings(evidence[check.name], clean, classifier.class_names)
            made += [(finding, check) for finding in found]
    findings = rank(finding for finding, _ in made)
    makers = {n: next(check for f, check in made if f is finding) for n, finding in enumerate(findings)}
    illustrated, pictures = illustrate_findings(findings, makers, classifier, images, rng)
    assumptions = tuple(dict.fromkeys(a for part in evidence.values() for a in part.assumptions))
    told = tuple(note for check in chosen if check.name in evidence for note in check.notes(classifier))
    failed = {name: len(part.where(status="failed")) for name, part in evidence.items()}
    failures = tuple(
        f"Check {name}: {n} rows failed, see the evidence; figures leave them out" for name, n in failed.items() if n
    )
    report = AuditReport(
        model=describe(classifier),
        data={
            **plan["data"],
            "used": len(clean),
            "rejected": len(rejected),
            "labelled": images.has_labels,
        },
        metrics=metrics,
        findings=tuple(illustrated),
        checks=tuple(
            CheckStatus(name=c.name, status="skipped" if skipped[c.name] else "done", reason=skipped[c.name])
            for c in chosen
        ),
        notes=(*NOTES, *told, *assumptions, *failures),
    )
    return report, pictures
