"""The completion of an audit: shards are merged, checks conclude, and the report is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from safetensors.numpy import save

from snellen.auditing.budgeting import Choice
from snellen.auditing.checks import base_check
from snellen.auditing.concluding import Gathered, conclude
from snellen.auditing.effort import Effort, left_out
from snellen.auditing.engine import SetRun
from snellen.auditing.html import render_report
from snellen.auditing.ledger import EarlierLooks
from snellen.auditing.overlap_rows import UNCHANGED
from snellen.auditing.privacy import Privacy
from snellen.auditing.report import AuditReport
from snellen.auditing.resolved_audit import ResolvedAudit
from snellen.auditing.shard_work import CLEAN, NOT_FINITE
from snellen.checks.check import Companion
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.run import Run, csv_table, write_atomically
from snellen.data.rejections import check_rejected, counted_reasons
from snellen.models.remote.sent_log import SENT


def sent_note(
    classifier: Classifier,
    evidence: Iterable[Evidence],
    rejected: Iterable[Mapping[str, str]],
) -> list[str]:
    """To which host how many images were sent; nothing where the model runs in this process.

    Images are counted once, however often they were sent: how often depends on where a run was stopped.

    Args:
        classifier: the model.
        evidence: clean evidence of every set of images.
        rejected: images of every set that could not be used. Those without usable scores had been sent.
    """
    if classifier.sent_to is None:
        return []
    images = sum(map(len, evidence)) + sum(row["reason"] == NOT_FINITE for row in rejected)
    return [
        f"{images} images were sent to {classifier.sent_to}, prepared as the model takes them, and so were the copies "
        f"of them that checks changed. {SENT} in the run directory has a line for each request."
    ]


def finish(
    run: Run,
    resolved: ResolvedAudit,
    sets: Mapping[str, SetRun],
    *,
    privacy: Privacy,
    choice: Choice | None,
    rng: Randomness,
    workers: int,
    allow_rejected: bool,
    effort: Effort | None = None,
    looks: EarlierLooks | None = None,
    progress: Progress | None = None,
) -> tuple[AuditReport, dict[str, float]]:
    """Merge the shards of all sets and write report, lists and pictures.

    Args:
        run: that was measured.
        resolved: the resolved audit. sets: what was measured, by set.
        privacy: what may be kept.
        choice: what a budget chose.
        rng: of the run.
        workers: threads that read ahead.
        allow_rejected: report however many images were rejected.
        effort: the requested one; a note says what it leaves out.
        looks: how often the images were audited before; None where no ledger counts it.
        progress: who is shown how far checks are that read images again.

    Returns:
        The report, and seconds by what was done.

    Raises:
        InputError: no image could be used, or too many could not.
        ModelError: no scores could.
    """
    evidence, rejected = sets["audit"].gathered()
    _check_usable(resolved.classifier, resolved.images, evidence[CLEAN], rejected)
    unusable = {row["id"]: row["reason"] for row in rejected} | without_map(evidence)
    check_rejected(unusable, len(resolved.images), resolved.images.name, allowed=allow_rejected)
    seconds = sets["audit"].seconds()
    beside, beside_rejected = dict[Companion, tuple[Evidence, ImageSet]](), list[dict[str, str]]()
    unread = dict[Companion, dict[str, int]]()
    for name, other in resolved.companions.items():
        found, lost = sets[name].gathered()
        check_rejected({row["id"]: row["reason"] for row in lost}, len(other), other.name, allowed=allow_rejected)
        beside[name] = (found[CLEAN], other)
        beside_rejected += lost
        if lost:
            unread[name] = counted_reasons(row["reason"] for row in lost)
        seconds[name] = sum(sets[name].seconds().values())
    cleans = [evidence[CLEAN], *(found for found, _ in beside.values())]
    notes = [
        *resolved.images.notes,
        *privacy.notes(),
        *(choice.notes() if choice is not None else ()),
        *_left_out(effort, resolved),
        *sent_note(resolved.classifier, cleans, [*rejected, *beside_rejected]),
    ]
    gathered = Gathered(
        evidence,
        beside,
        rejected,
        resolved.skipped,
        resolved.wholes,
        notes,
        drawn_from=len(resolved.drawn_from),
        unread=unread,
    )
    report, files = conclude(
        resolved.measuring,
        resolved.images,
        run.plan,
        resolved.checks,
        gathered,
        rng,
        workers=workers,
        progress=progress,
    )
    if looks is not None:
        report = report.model_copy(update={"data": {**report.data, "ledger": looks.model_dump(mode="json")}})
    run.write_json("report.json", report.to_json())
    for listing, rows in files.lists.items():
        run.write_json(f"lists/{listing}.json", rows)
    for table, rows in files.tables.items():
        write_atomically(run.folder / "lists" / f"{table}.csv", csv_table(rows))
    for group, arrays in files.arrays.items():
        write_atomically(run.folder / "arrays" / f"{group}.safetensors", save(dict(arrays)))
    for key, blob in files.pictures.items():
        run.write_blob(key, blob)
    write_atomically(run.folder / "report.html", render_report(report, files.pictures, rejected).encode())
    if choice is not None:
        seconds["estimated"] = choice.estimated
    return report.keeping(folder=None, pictures=files.pictures, rejected=rejected), seconds


def without_map(evidence: Mapping[str, Evidence]) -> dict[str, str]:
    """Images of a segmenter that have no usable mask, with the reason of each; none of other models."""
    table = evidence.get(base_check("segment"), Evidence.merge([])).where(setting=UNCHANGED, status="skipped").table
    return dict(zip(table["example_id"].to_pylist(), table["reason"].to_pylist(), strict=True))


def _left_out(effort: Effort | None, resolved: ResolvedAudit) -> list[str]:
    """What a requested effort leaves out; nothing of the usual one, whose report says no more than ever."""
    line = (
        None
        if effort in (None, "standard")
        else left_out(effort, [check.name for check in resolved.checks], resolved.classifier.task)
    )
    return [] if line is None else [line]


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
