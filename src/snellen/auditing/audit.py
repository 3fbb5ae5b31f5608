"""The verb ``snellen.audit``: where a classifier fails on given images."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch

from snellen.auditing.check import Checking
from snellen.auditing.checks import resolve_checks
from snellen.auditing.engine import BATCHES_PER_SHARD, run_shards, shard_count
from snellen.auditing.html import render_report
from snellen.auditing.pictures import illustrate_findings
from snellen.auditing.report import AuditReport, CheckStatus
from snellen.classifier import Classifier
from snellen.data.labels import align_labels
from snellen.errors import InputError
from snellen.evidence import Evidence
from snellen.finding import Finding, rank
from snellen.images import ImageSet
from snellen.progress import Progress, Silent
from snellen.randomness import Randomness
from snellen.run import Run, write_atomically
from snellen.version import __version__

NOTES = (
    "Intervals are 95 % (Wilson for shares) and count images as independent.",
    "Harm is the lower 95 % bound of accuracy lost, times the share of the images concerned; within one check it is "
    "corrected for the number of things tested (Bonferroni).",
)


def audit(
    classifier: Classifier,
    images: ImageSet,
    *,
    out: Path | str | None = None,
    checks: Sequence[str | Checking] | None = None,
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
            None: nothing is kept.
        checks: names of checks or check objects; None means all. ``clean`` always runs.
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
    running = [check for check in chosen if skipped[check.name] is None]
    if not running:
        raise InputError(f"no check can run: {'; '.join(f'{name} {why}' for name, why in skipped.items())}")
    rng = Randomness(seed)
    with ExitStack() as stack:
        keep = out is not None
        folder = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
        run = Run.open(folder, _plan(classifier, images, chosen, batch_size, seed))
        seconds = run_shards(
            run,
            classifier,
            images,
            running,
            batch_size=batch_size,
            workers=workers,
            rng=rng,
            progress=progress or Silent(),
        )
        shards = shard_count(len(images), batch_size)
        evidence = run.merge(shards, tuple(check.name for check in running))
        rejected = [row for shard in range(shards) for row in run.shard_extra(shard)["rejected"]]
        run.write_json("rejected.json", rejected)
        if not len(evidence["clean"]):
            raise InputError(
                f"none of the {len(images)} images of {images.name} could be used; first: {rejected[0]['id']}: "
                f"{rejected[0]['reason']}"
            )
        report, pictures = _conclude(classifier, images, run.plan, chosen, skipped, evidence, rejected, rng)
        run.write_json("report.json", report.to_json())
        for key, blob in pictures.items():
            run.write_blob(key, blob)
        write_atomically(folder / "report.html", render_report(report, evidence, pictures, rejected).encode())
        seconds["total"] = time.perf_counter() - started
        run.write_json("timing.json", {name: round(value, 3) for name, value in seconds.items()})
        return report.model_copy(update={"folder": folder if keep else None})


def _conclude(
    classifier: Classifier,
    images: ImageSet,
    plan: Mapping[str, Any],
    chosen: Sequence[Checking],
    skipped: dict[str, str | None],
    evidence: dict[str, Evidence],
    rejected: Sequence[dict[str, str]],
    rng: Randomness,
) -> tuple[AuditReport, dict[str, bytes]]:
    """Metrics, findings and pictures from the merged evidence."""
    clean, metrics = evidence["clean"], {}
    made: list[tuple[Finding, Checking]] = []
    for check in chosen:
        if check.name in evidence and len(evidence[check.name]):
            metrics.update(check.metrics(evidence[check.name], clean))
            found = check.findings(evidence[check.name], clean, classifier.class_names)
            made += [(finding, check) for finding in found]
    findings = rank(finding for finding, _ in made)
    makers = {n: next(check for f, check in made if f is finding) for n, finding in enumerate(findings)}
    illustrated, pictures = illustrate_findings(findings, makers, classifier, images, rng)
    assumptions = tuple(dict.fromkeys(a for part in evidence.values() for a in part.assumptions))
    report = AuditReport(
        model=_describe(classifier),
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
        notes=(*NOTES, *assumptions),
    )
    return report, pictures


def _describe(classifier: Classifier) -> dict[str, Any]:
    return {
        "name": classifier.name,
        "identity": classifier.identity,
        "classes": len(classifier.class_names),
        "task": classifier.task,
        "output": classifier.output,
        "differentiable": classifier.differentiable,
        "preparation": classifier.preparation.model_dump(mode="json"),
        "notes": list(classifier.notes),
    }


def _plan(
    classifier: Classifier, images: ImageSet, checks: Sequence[Checking], batch_size: int, seed: int
) -> dict[str, Any]:
    """Everything that can change a result."""
    return {
        "kind": "audit",
        "model": {**_describe(classifier), "class_names": list(classifier.class_names)},
        "data": {"name": images.name, "fingerprint": images.fingerprint(), "images": len(images)},
        "checks": [check.record() for check in checks],
        "batch_size": batch_size,
        "batches_per_shard": BATCHES_PER_SHARD,
        "seed": seed,
        "device": classifier.device.type,
        "threads": torch.get_num_threads(),
        "versions": {
            "snellen": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
    }
