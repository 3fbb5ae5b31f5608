"""The verb ``snellen.audit``: where a classifier fails on given images."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from snellen.auditing.checks import base_check, with_parameters
from snellen.auditing.completion import finish
from snellen.auditing.crew import SHARDS_EACH, WorkersFailedError, default_crew, without_workers
from snellen.auditing.effort import Effort, chosen_checks, wanted_by_name
from snellen.auditing.engine import report_of_part, set_runs
from snellen.auditing.job import arguments_of, is_job
from snellen.auditing.kept_folder import KeptFolder
from snellen.auditing.ledger import Ledger, ledger_file, read_ledger
from snellen.auditing.plan import plan_of, shard_count
from snellen.auditing.privacy import Privacy
from snellen.auditing.recorded_audit import checks_without_model, recorded_audit
from snellen.auditing.report import AuditReport
from snellen.auditing.resolved_audit import ResolvedAudit
from snellen.auditing.shard_work import ShardWork
from snellen.auditing.subject import Subject
from snellen.checks.check import Check, Companion
from snellen.core.budget import seconds_of
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.interruption import noted_interruption
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.rehearsal import rehearsing
from snellen.core.run import Run
from snellen.core.unwritable import explained_unwritable, tidy
from snellen.data.factors import Columns, Groups, columns_beside
from snellen.data.files.costs import Costs, load_costs
from snellen.data.loading import check_batches
from snellen.data.references import Labels
from snellen.models.remote.sent_log import sent_log
from snellen.runs.engines.choosing import choose_engine, recorded
from snellen.runs.engines.engine import Engine
from snellen.runs.estimate import Planned
from snellen.runs.given import Images, Model, given_classifier, given_companion, given_images
from snellen.runs.measuring import measure, read_part


@torch.inference_mode(False)  # what this computes needs gradients, wherever it is called
def audit(
    classifier: Model | None = None,
    images: Images | None = None,
    *,
    predictions: object = None,
    out: Path | str | None = None,
    effort: Effort | None = None,
    checks: str | Sequence[str | Mapping[str, Any] | Check] | None = None,
    threats: Sequence[str] = (),
    domain: str | None = None,
    train: Images | None = None,
    val: Images | None = None,
    batch_size: int = 64,
    workers: int = 0,
    limit: int | None = None,
    budget: float | str | None = None,
    seed: int = 0,
    save_images: bool = True,
    pseudonyms: Path | str | None = None,
    engine: str | Engine | None = None,
    processes: int | None = None,
    address: str | None = None,
    shards: int | None = None,
    threads: int | None = None,
    part: str | None = None,
    labels: Labels | None = None,
    class_names: Sequence[str] | None = None,
    columns: Columns | None = None,
    groups: Groups | None = None,
    costs: Costs | None = None,
    prevalence: float | None = None,
    allow_rejected: bool = False,
    ledger: Path | str | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Audit a classifier on images.

    Args:
        classifier: a classifier, or what :func:`snellen.load_classifier` takes: a reference or path, a model of any
            library (a torch module stays as it is), a callable, (model, transform). Also a file ``audit.toml``
            (:class:`~snellen.auditing.job.AuditJob`), which holds all arguments below; arguments that are not their
            default win over it. Of ``columns``, each meaning wins by itself. Images by a reference are read with the
            masks, table and columns of the file; other images are taken as they are.
        images: an image set, or what :func:`snellen.load_images` takes: a folder, file, arrays, a table, a data set.
            Labels are matched to the classifier's classes by name.
        predictions: in place of a classifier, what one gave for the images, in their order: scores or probabilities
            (n, k), or labels (n,), as an array, a table with a column for each class, or a file of such a table. Checks
            that run no model are made; ``images`` may then be left out, and labels are enough.
        out: run directory. An unfinished or finished run of the same plan in it is taken up, another plan is an error.
            A model that cannot be hashed (a plain callable, an edited model) is not taken up. None: nothing is kept.
        effort: which checks run: ``quick``, those that ask the model nothing beyond the clean images; ``standard``, all
            that run by default; ``full``, all that exist, the scan for a backdoor among them, none with a bound on the
            images (of many, the others measure corruptions and attacks on a sample). None is ``standard``.
        checks: names of checks, records (``{"check": "corruption", "benchmark": "bloodmnist"}``) or check objects,
            instead of an effort. Names that all begin with + or - change the effort's: ``"+backdoor,-slices"``. None:
            those of the effort. ``clean`` always runs.
        threats: what the model must withstand ("linf:8/255", "l2:0.5"): only under these is adversarial fragility harm.
        domain: what the images are, which decides the damage that is measured: ``photos``, ``products``, ``documents``,
            ``satellite``, ``industrial``, ``medical:KIND`` (``medical:xray`` …), or ``all``. None: guessed by the names
            of classes and the images; the report says what, and what was left out.
        train: images that the model was trained on, for leakage, drift and membership. At most 20,000 are read, drawn
            at random; their units are compared with those of the audited images all the same.
        val: images that something may be fitted to, such as a temperature.
        batch_size: images in one pass. Another batch size may change scores by about 1e-5.
        workers: threads that read images ahead; changes no result.
        limit: audit at most so many images, drawn at random by the seed; of bags with labels, whole ones.
        budget: seconds, or a time such as "90s", "5m", "2h", that the audit is to take about. Fewer images are drawn
            then, or checks left out; see :mod:`snellen.auditing.budgeting`.
        seed: of everything random.
        save_images: keep pictures of images. Without, none is anywhere in the run directory, no thumbnail and no heat
            map; for near duplicates the images are read twice.
        pseudonyms: file with a key, made if it is not there: names of images, units, groups, bags, of the data and of
            files of models are replaced before anything is written, and can be resolved with it. It may not lie in
            ``out``. What is random depends on ids, and is another draw than under the names.
        engine: ``in_process``, ``local`` (processes of this machine), ``ray``, or an engine object; changes no result.
            Processes load model and images again, by the references that they were loaded by. None: ``local`` where
            that is possible and saves time, else ``in_process``; ``timing.json`` says which and why, and so does
            :func:`snellen.plan`. See :func:`~snellen.runs.engines.choosing.choose_processes`.
        processes: of ``local`` (also where no engine is named) and ``ray``; see
            :func:`~snellen.runs.engines.choosing.choose_engine`.
        address: of a running Ray cluster; None starts one on this machine.
        shards: pieces that the run is cut into, what is lost at most when it is killed; changes no figure. None: eight
            batches each, or as the run in ``out`` has it.
        threads: of torch in each process; another number may change scores by about 1e-5. None: torch's own number,
            divided among the processes, or as the run in ``out`` has it.
        part: "2/8" measures the second of eight parts into ``out``, which all parts share, and stops; the same call
            without it does what is left and makes the report.
        labels: of images in memory that bring none: numbers or names, one for each.
        class_names: in the order of the outputs, where the model does not name them and the images name others.
        columns: what the columns of a table, or the fields of a data set, mean: ``{"image": "file", "label": "dx",
            "unit": "patient"}``; ``group`` may name several: ``["hospital", "scanner", "age:40,60"]``.
        groups: of the audited images: names of columns, as behind ``group``, or values of each image by name, in their
            order: ``{"hospital": [...], "age:40,60": [...]}``. Of several, errors are judged by each and by each pair.
        costs: what errors cost: a CSV file with a row for each true class and a column for each decision, a mapping of
            mappings, a table, or an array (k, k). Harm then counts costs, as a share of that of the costliest error,
            and with it the order of findings.
        prevalence: of the positive class where the model will be used, in (0, 1): predictive values and net benefit are
            those there. See :class:`~snellen.auditing.checks.discrimination.Discrimination`.
        allow_rejected: report also where more than 5 % of the images cannot be used.
        ledger: file (``.jsonl``), or folder such as that of the run directories, in which a line counts this audit of
            these images; the report shows how often they were audited and gated before. It holds fingerprints alone.
        progress: callback that receives progress updates.

    Returns:
        The report; ``report.folder`` is the run directory. That of a part has no figures.

    Raises:
        InputError: the data is empty, more than 5 % of the images are unusable, or the labels do not fit the classes.
        ModelError: the model gives scores that cannot be used.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call continues once that is mended.
        RunConflictError: ``out`` holds a run of another plan.
        WorkerError: a worker died twice with the same shard, or found other files or packages than this process.
    """
    if is_job(classifier) and predictions is None:
        return audit(**arguments_of(str(classifier), {**locals()}, inspect.signature(audit)))
    check_batches(batch_size, workers)
    if part is not None and out is None:
        raise InputError("a part of an audit goes into a run directory that all parts share: name it with out")
    if part is not None and budget is not None:
        raise InputError("a budget is resolved by one process, and parts run side by side: give a limit instead")
    mine = read_part(part)
    if ledger is not None:
        if predictions is not None and images is None:
            raise InputError("a ledger knows a test set by its images, and predictions came alone: name images too")
        read_ledger(ledger_file(ledger))  # what cannot be read is refused before the audit runs
    started, since = time.perf_counter(), time.time()
    seconds_allowed = None if budget is None else seconds_of(budget)
    privacy = Privacy.of(
        save_images and (predictions is None or images is not None), pseudonyms, None if out is None else Path(out)
    )
    able = None
    if predictions is not None:
        if classifier is not None:
            raise InputError("a classifier and predictions came; give one of them")
        model, audited = recorded_audit(predictions, images, labels, class_names, columns, groups)
        able = checks_without_model(images is not None)
    elif classifier is None or images is None:
        raise InputError("an audit takes a classifier and images, or predictions with labels or images")
    else:
        audited = given_images(images, labels, columns, groups=groups)
        model = given_classifier(classifier, audited, class_names)
    beside = columns_beside(audited, columns, groups)
    given: dict[Companion, ImageSet | None] = {
        "train": None if train is None else given_companion(train, beside),
        "val": None if val is None else given_companion(val, beside),
    }
    chosen = chosen_checks(checks, effort, able, model.task)
    if costs is not None:
        if base_check(model.task) != base_check("single"):
            raise InputError(f"costs are of decisions about images, and {model.name} makes none ({model.task})")
        chosen = with_parameters(chosen, "clean", {"costs": load_costs(costs, model.class_names)}, "a table of costs")
    if prevalence is not None:
        chosen = with_parameters(chosen, "discrimination", {"prevalence": prevalence}, "a prevalence")
    resolved = ResolvedAudit.of(
        model,
        audited,
        given,
        chosen,
        threats,
        privacy=privacy,
        limit=limit,
        seed=seed,
        bounded=effort != "full",
        domain=domain,
    )
    resolved.refuse_lacking(wanted_by_name(checks))
    rng, listener = Randomness(seed), progress or Silent()
    with ExitStack() as stack:
        place = stack.enter_context(KeptFolder()) if out is None else Path(out)
        folder = place.path if isinstance(place, KeptFolder) else place
        stack.enter_context(noted_interruption(None if out is None else folder))
        stack.enter_context(explained_unwritable(folder))
        # Threads of numpy's linear algebra spin while they wait, and starve all others as soon as a core is shared.
        stack.enter_context(threadpool_limits(limits=1, user_api="blas"))
        sent = stack.enter_context(sent_log())
        _check_comparable(folder, resolved.classifier)
        known_threads, known_shards = recorded(folder)
        known_threads = known_threads if threads is None else threads

        def work_on(resolved: ResolvedAudit) -> ShardWork:
            sets, keep = resolved.images_by_set, privacy.kept(resolved.reads)
            return ShardWork(
                resolved.measuring,
                sets,
                resolved.checks_by_set,
                keep,
                batch_size,
                workers,
                seed,
                save_images,
                as_given=resolved.measuring is resolved.classifier,
            )

        if engine is None and processes is None and address is None:
            crew = default_crew(work_on(resolved), threads=known_threads, seconds=seconds_allowed, part=part)
        else:
            crew = choose_engine(
                engine or ("in_process" if processes is None else "local"),
                processes=processes,
                threads=known_threads,
                address=address,
                gpu=resolved.classifier.device.type == "cuda",
            )
        stack.enter_context(crew.threads_set())
        choice = None
        # A plan contacts no server, and resolves no budget there.
        if seconds_allowed is not None and not (rehearsing() and resolved.classifier.sent_to is not None):
            resolved, choice = resolved.within_budget(
                seconds_allowed,
                folder,
                batch_size=batch_size,
                workers=workers,
                processes=crew.at_once,
                started=started,
            )
        work = work_on(resolved)
        again = None if crew.engine is None else work.reopening()
        if again is not None:
            again.check()
        least = SHARDS_EACH * crew.at_once if crew.at_once > 1 and crew.why else 1
        counts = {
            name: shard_count(len(one), batch_size, known_shards.get(name) if shards is None else shards, least)
            for name, one in work.sets.items()
        }
        if rehearsing():
            raise Planned(resolved.estimate(work, counts, folder if out is not None else None, crew.why))
        plan = plan_of(
            resolved.classifier,
            resolved.images,
            resolved.companions,
            resolved.checks,
            batch_size,
            counts,
            seed,
            listener,
            privacy=privacy,
            budget=choice,
        )
        run = Run.open(folder, plan)
        subject = Subject(
            resolved.classifier,
            resolved.images,
            _whole(given),
            resolved.checks,
            seed,
            privacy.save_images,
            privacy.names is not None,
            plan["model"]["fingerprint"],
        )
        if part is None and privacy.names is None:
            subject.write(folder)
        sent.into(folder)
        sets = set_runs(run, work, counts)
        pieces = [piece for one in sets.values() for piece in one.pieces()]
        setup = dict if again is None else again.setup
        try:
            twins = [work.twin() for _ in range(crew.lanes)] if crew.lanes > 1 else []
            measure(pieces, lambda: work, folder, listener, engine=crew.engine, setup=setup, part=mine, twins=twins)
        except WorkersFailedError as error:
            crew = without_workers(crew, error)
            measure(pieces, lambda: work, folder, listener)
        if part is not None:
            return report_of_part(run, part, pieces)
        looks = None if ledger is None else Ledger.open(ledger, resolved.images, plan)
        report, seconds = finish(
            run,
            resolved,
            sets,
            privacy=privacy,
            choice=choice,
            rng=rng,
            workers=workers,
            allow_rejected=allow_rejected,
            effort=effort,
            looks=None if looks is None else looks.earlier(),
            progress=listener,
        )
        if looks is not None:
            looks.enter()
        seconds["total"] = time.perf_counter() - started
        timing: dict[str, float | str] = {name: round(value, 3) for name, value in seconds.items()}
        run.write_json("timing.json", timing | ({"engine": crew.why} if crew.why else {}))
        tidy(folder, since)
        # What is in memory is shown also where nobody named a folder.
        report = report.within(place)
        return report.examining(subject).counted_in(looks)


def _whole(given: Mapping[Companion, ImageSet | None]) -> dict[Companion, ImageSet]:
    return {name: images for name, images in given.items() if images is not None}


def _check_comparable(folder: Path, classifier: Classifier) -> None:
    """Refuse to resume a run whose model cannot be identified."""
    if (folder / "manifest.json").exists() and classifier.fingerprint() is None:
        raise InputError(
            f"{folder} holds a run, and {classifier.name} cannot be hashed (a plain callable, or an edited model): "
            f"it cannot be compared with the model of that run; choose another out"
        )
