"""The verb ``snellen.audit``: where a classifier fails on given images."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from snellen.auditing.budgeting import fitted, recorded_choice
from snellen.auditing.check import Check, Companion, WholeSet
from snellen.auditing.checks import resolve_checks
from snellen.auditing.concluding import Gathered, conclude
from snellen.auditing.engine import SetRun, measure_sets, report_of_part
from snellen.auditing.html import render_report
from snellen.auditing.limiting import limited
from snellen.auditing.per_image import BAG_LABEL
from snellen.auditing.plan import plan_of
from snellen.auditing.privacy import Privacy
from snellen.auditing.reopening import check_reopening, setup_of
from snellen.auditing.report import AuditReport
from snellen.auditing.sent_note import sent_note
from snellen.auditing.shard_work import CLEAN, NOT_FINITE, ShardWork, WorkingSet
from snellen.auditing.sharding import read_part, shard_count
from snellen.budget import seconds_of
from snellen.classifier import Classifier
from snellen.data.labels import align_labels
from snellen.engines.choosing import choose_engine, recorded
from snellen.engines.engine import Engine
from snellen.errors import InputError, ModelError
from snellen.evidence import Evidence
from snellen.images import ImageSet
from snellen.network.sent_log import sent_log
from snellen.progress import Progress, Silent
from snellen.randomness import Randomness
from snellen.run import Run, write_atomically
from snellen.unwritable import unwritable_told

#: At most so many training or tuning images are looked at, drawn at random.
COMPANION_LIMIT = 20_000


def audit(
    classifier: Classifier,
    images: ImageSet,
    *,
    out: Path | str | None = None,
    checks: Sequence[str | Mapping[str, Any] | Check] | None = None,
    threats: Sequence[str] = (),
    train: ImageSet | None = None,
    tune: ImageSet | None = None,
    batch_size: int = 64,
    workers: int = 0,
    limit: int | None = None,
    budget: float | str | None = None,
    seed: int = 0,
    save_images: bool = True,
    pseudonyms: Path | str | None = None,
    engine: str | Engine = "in_process",
    processes: int | None = None,
    address: str | None = None,
    shards: int | None = None,
    threads: int | None = None,
    part: str | None = None,
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
        threats: what the model must withstand ("linf:8/255", "l2:0.5"): only under these is adversarial fragility harm.
        train: images that the model was trained on, for leakage and drift. At most 20,000 are looked at, drawn at
            random; their units are compared with those of the audited images all the same.
        tune: images that something may be fitted to, such as a temperature.
        batch_size: images in one pass. Another batch size may change scores by about 1e-5.
        workers: threads that read images ahead; changes no result.
        limit: audit at most so many images, drawn at random by the seed; of bags with labels, whole ones.
        budget: seconds, or a time such as "90s", "5m", "2h", that the audit is to take about. Fewer images are drawn
            then, or checks left out; see :mod:`snellen.auditing.budgeting`.
        seed: of everything random.
        save_images: keep pictures of images. Without, none is anywhere in the run directory, no thumbnail and no heat
            map; for near duplicates the images are read twice.
        pseudonyms: file with a key, made if it is not there: names of images, units, groups, bags, of the data and of
            files of models are replaced before anything is written, and can be looked up in it. It may not lie in
            ``out``. What is random depends on ids, and is another draw than under the names.
        engine: ``in_process``, ``local`` (processes of this machine), ``ray``, or an engine object; changes no result.
            Processes load model and images again, by the references that they were loaded by.
        processes: of ``local`` and ``ray``; see :func:`~snellen.engines.choosing.choose_engine`.
        address: of a running Ray cluster; None starts one on this machine.
        shards: pieces that the run is cut into, what is lost at most when it is killed; changes no figure. None: eight
            batches each, or as the run in ``out`` has it.
        threads: of torch in each process; another number may change scores by about 1e-5. None: torch's own number,
            divided among the processes, or as the run in ``out`` has it.
        part: "2/8" measures the second of eight parts into ``out``, which all parts share, and stops; the same call
            without it does what is left and makes the report.
        progress: who hears of progress.

    Returns:
        The report; ``report.folder`` is the run directory. That of a part has no figures.

    Raises:
        InputError: the data is empty, all images are unusable, or the labels do not fit the classes.
        ModelError: the model gives scores that cannot be used.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call goes on once that is mended.
        RunConflictError: ``out`` holds a run of another plan.
        WorkerError: a worker died twice with the same shard, or found other files or packages than this process.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(f"batch_size must be at least 1 and workers at least 0, got {batch_size} and {workers}")
    if part is not None and out is None:
        raise InputError("a part of an audit goes into a run directory that all parts share: name it with out")
    if part is not None and budget is not None:
        raise InputError("a budget is resolved by one process, and parts run side by side: give a limit instead")
    mine = (1, 1) if part is None else read_part(part)
    started, seconds_allowed = time.perf_counter(), None if budget is None else seconds_of(budget)
    privacy = Privacy.of(save_images, pseudonyms, None if out is None else Path(out))
    classifier, images, given = privacy.applied(classifier, images, {"train": train, "tune": tune})
    everything = images
    if limit is not None:
        images = limited(images, limit, seed)
    if not len(images):
        raise InputError(f"{images.name} holds no images")
    images = _aligned(images, classifier)
    companions = _companions(given, classifier, seed)
    wholes = {name: WholeSet.of(whole) for name, whole in given.items() if whole is not None}
    chosen = [privacy.check(check.resolved(classifier)) for check in resolve_checks(checks, threats)]
    skipped = {check.name: check.missing(classifier, images, frozenset(companions)) for check in chosen}
    if skipped["clean"] is not None:
        raise InputError(f"the check 'clean', which every other is compared with, cannot run: it {skipped['clean']}")
    running = [check for check in chosen if skipped[check.name] is None]
    rng, listener = Randomness(seed), progress or Silent()
    with ExitStack() as stack:
        folder = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
        stack.enter_context(unwritable_told(folder))
        sent = stack.enter_context(sent_log())
        if (folder / "manifest.json").exists() and classifier.fingerprint() is None:
            raise InputError(
                f"{folder} holds a run, and {classifier.name} cannot be hashed (a plain callable, or an edited model): "
                f"nobody can tell whether it is the model of that run; choose another out"
            )
        known_threads, known_shards = recorded(folder)
        crew = choose_engine(
            engine,
            processes=processes,
            threads=threads or known_threads,
            address=address,
            gpu=classifier.device.type == "cuda",
        )
        stack.enter_context(crew.threads_set())
        choice = None
        if seconds_allowed is not None:
            choice = recorded_choice(folder, seconds_allowed, len(images)) or fitted(
                seconds_allowed,
                classifier,
                images,
                companions,
                running,
                batch_size=batch_size,
                workers=workers,
                seed=seed,
                started=started,
                processes=crew.processes,
            )
            images = _aligned(limited(everything, choice.images, seed), classifier)
            companions = {
                name: one.limit(choice.companions.get(name, len(one)), seed) for name, one in companions.items()
            }
            skipped |= choice.left_out
            running = [check for check in running if check.name not in choice.left_out]
        keep = privacy.kept(frozenset(kept for check in running for kept in check.reads))
        measuring = [check for check in running if check.measures]
        parts: dict[str, tuple[ImageSet, Sequence[Check]]] = {"audit": (images, measuring)}
        parts |= {name: (other, ()) for name, other in companions.items()}
        if crew.engine is not None:
            check_reopening(classifier, parts)
        counts = {
            name: shard_count(len(one), batch_size, known_shards.get(name) if shards is None else shards)
            for name, (one, _) in parts.items()
        }
        plan = plan_of(
            classifier, images, companions, chosen, batch_size, counts, seed, listener, privacy=privacy, budget=choice
        )
        run = Run.open(folder, plan)
        sent.into(folder)
        sets = {
            name: SetRun(
                run if name == "audit" else Run.open(folder / name, run.plan),
                one,
                own,
                counts[name],
                batch_size,
                name if name == "audit" else f"{name} images",
            )
            for name, (one, own) in parts.items()
        }
        working = {name: WorkingSet.of(one, own) for name, (one, own) in parts.items()}
        work = ShardWork(classifier, working, keep, batch_size, workers, rng)
        measure_sets(
            sets,
            work,
            crew.engine,
            lambda: setup_of(run.plan, classifier, parts, keep, batch_size, workers, seed),
            listener,
            mine,
        )
        if part is not None:
            return report_of_part(run, part, sets)
        evidence, rejected = sets["audit"].gathered()
        _check_usable(classifier, images, evidence[CLEAN], rejected)
        seconds = sets["audit"].seconds()
        beside, beside_rejected = dict[Companion, tuple[Evidence, ImageSet]](), list[dict[str, str]]()
        for name, other in companions.items():
            found, lost = sets[name].gathered()
            beside[name] = (found[CLEAN], other)
            beside_rejected += lost
            seconds[name] = sum(sets[name].seconds().values())
        cleans = [evidence[CLEAN], *(found for found, _ in beside.values())]
        notes = [
            *privacy.notes(),
            *(choice.notes() if choice is not None else ()),
            *sent_note(classifier, cleans, [*rejected, *beside_rejected]),
        ]
        gathered = Gathered(evidence, beside, rejected, skipped, wholes, notes)
        report, pictures, lists = conclude(classifier, images, run.plan, chosen, gathered, rng, workers=workers)
        run.write_json("report.json", report.to_json())
        for listing, rows in lists.items():
            run.write_json(f"lists/{listing}.json", rows)
        for key, blob in pictures.items():
            run.write_blob(key, blob)
        write_atomically(folder / "report.html", render_report(report, pictures, rejected).encode())
        if choice is not None:
            seconds["estimated"] = choice.estimated
        seconds["total"] = time.perf_counter() - started
        run.write_json("timing.json", {name: round(value, 3) for name, value in seconds.items()})
        return report.model_copy(update={"folder": folder if out is not None else None})


def _companions(
    given: Mapping[Companion, ImageSet | None], classifier: Classifier, seed: int
) -> dict[Companion, ImageSet]:
    """The sets that were given, limited in size, their labels in the classifier's classes."""
    found = {name: images.limit(COMPANION_LIMIT, seed) for name, images in given.items() if images is not None}
    for name, images in found.items():
        if not len(images):
            raise InputError(f"the {name} images {images.name} are none")
    return {name: _aligned(images, classifier) for name, images in found.items()}


def _aligned(images: ImageSet, classifier: Classifier) -> ImageSet:
    """The same images, labels of images and of bags in the classifier's classes."""
    known = images.has_labels or any(label is not None for label in images.column(BAG_LABEL))
    return align_labels(images, classifier.class_names) if known else images


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
