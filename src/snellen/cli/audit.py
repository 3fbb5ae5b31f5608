"""``snellen audit``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from snellen.cli.audit_names import EffortName, OutputName, TaskName
from snellen.cli.audit_summary import show_report
from snellen.cli.engine_options import (
    AddressOption,
    ChosenEngineOption,
    DryRunOption,
    PartOption,
    ProcessesOption,
    ShardsOption,
    ThreadsOption,
    ended_like_ctrl_c,
)
from snellen.cli.filled_folder import free_folder, show_how_to_resume
from snellen.cli.gate_options import (
    EXIT_GATE,
    GateOptions,
    LevelOption,
    check_baseline,
    check_gate_names,
    check_gate_options,
    judge_audit,
    read_gate_options,
    show_gate,
)
from snellen.cli.job_file import Choice, read_job_file, under_options, written
from snellen.cli.privacy_options import AllowRemoteOption, BudgetOption, PseudonymsOption, SaveImagesOption
from snellen.cli.progress import TerminalProgress, loading
from snellen.cli.run_options import (
    DATA_PANEL,
    GATE_PANEL,
    RUN_PANEL,
    AllowRejectedOption,
    ClassesOption,
    ColumnOption,
    DeviceOption,
    MasksOption,
    MeanOption,
    ModelArgsOption,
    SeedOption,
    SizeOption,
    StdOption,
    TableOption,
    WorkersOption,
    model_options,
    read_columns,
    read_images,
)
from snellen.core import index
from snellen.core.errors import InputError

#: Parameters of the command that are requirements.
_GATE = ("require", "fail_on", "baseline", "not_worse_than", "junit", "sarif")

DEFAULT_MODEL, DEFAULT_DATA = "bundled:fashion-cnn", "bundled:fashion-mnist"


def audit(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help="Reference of the classifier: bundled:NAME, timm:NAME@FILE, torchvision:NAME@FILE, onnx:FILE, "
            "hf:FOLDER, artifact:FOLDER, http://HOST:PORT/v2/models/NAME. Or audit.toml, a file that says all of this "
            "(snellen init writes one); options win over it.",
            show_default=DEFAULT_MODEL,
            is_eager=True,
            callback=read_job_file,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(
            help="Images: a folder (class subfolders), a manifest (.csv, .parquet), Parquet with images inside, tar "
            "shards (tar:FOLDER), a MedMNIST-style .npz, bundled:fashion-mnist. Needed beside a model of your own.",
            show_default=DEFAULT_DATA,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run directory; the same plan resumes where it stopped.", show_default="snellen-audit-N"),
    ] = None,
    effort: Annotated[
        EffortName | None,
        typer.Option(
            help="quick: checks that ask the model nothing beyond the images as they are. full: every check, the scan "
            "for a backdoor too.",
            show_default="standard",
        ),
    ] = None,
    checks: Annotated[
        str | None,
        typer.Option(
            help=f"Comma-separated, instead of an effort: {', '.join(index.checks())}. With signs they change the "
            "effort's: --checks=+backdoor,-nuisance.",
            show_default="those of the effort",
        ),
    ] = None,
    classes: ClassesOption = None,
    column: ColumnOption = None,
    masks: MasksOption = None,
    table: TableOption = None,
    allow_rejected: AllowRejectedOption = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="CHECK.FIELD=VALUE",
            help="Parameter of a check, repeatable: --set corruption.benchmark=bloodmnist, "
            "--set corruption.reference=alexnet/bloodmnist, --set 'corruption.severities=[1,3]'.",
            show_default="each check's own",
        ),
    ] = None,
    threat: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NORM:SIZE",
            help="What the model must withstand, repeatable: linf:8/255, l2:0.5. Only under these is adversarial "
            "fragility harm.",
        ),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What the images are, which decides the damage that is measured: photos, products, documents, "
            "satellite, industrial, medical:KIND (medical:xray), or all.",
            show_default="guessed",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Images the model was trained on, for leakage, drift and membership."),
    ] = None,
    val: Annotated[
        str | None, typer.Option(metavar="DATA", help="Images that something may be fitted to, such as a temperature.")
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=DATA_PANEL,
            metavar="FILE",
            help="CSV of what errors cost: a row for each true class, a column for each decision. Harm and the order "
            "of findings follow it.",
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=DATA_PANEL,
            metavar="SHARE",
            help="Of the positive class where the model will be used: predictive values and net benefit are those "
            "there.",
            show_default="that of the images",
        ),
    ] = None,
    device: DeviceOption = "cpu",
    model_args: ModelArgsOption = None,
    task: Annotated[
        TaskName | None,
        typer.Option(
            help="What the outputs decide. segment: the class of each pixel, scores (n, k, h, w). multi_label: several "
            "labels an image, scores (n, k).",
            show_default="what the model says, else single",
        ),
    ] = None,
    output: Annotated[
        OutputName | None,
        typer.Option(
            help="What the model returns.",
            show_default="what a probe shows; the report says how",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    size: SizeOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    allow_remote: AllowRemoteOption = None,
    workers: WorkersOption = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one pass.", rich_help_panel=RUN_PANEL)] = 64,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Audit at most so many images, drawn at random; whole bags.")
    ] = None,
    budget: BudgetOption = None,
    seed: SeedOption = 0,
    save_images: SaveImagesOption = True,
    pseudonyms: PseudonymsOption = None,
    engine: ChosenEngineOption = None,
    processes: ProcessesOption = None,
    address: AddressOption = None,
    shards: ShardsOption = None,
    threads: ThreadsOption = None,
    part: PartOption = None,
    dry_run: DryRunOption = False,
    require: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=GATE_PANEL,
            metavar="'METRIC>=VALUE'",
            help="Exit with 3 unless it holds, repeatable; >=, <=, > or <. The harder end of the 95 % interval counts, "
            "with METRIC.value the estimate. Also findings.LEVEL<=N and acuity.NUISANCE>=SEVERITY. "
            "docs/metrics.md says what each metric is.",
        ),
    ] = None,
    fail_on: Annotated[
        LevelOption | None,
        typer.Option(help="Exit with 3 when there is a finding of this level or worse.", rich_help_panel=GATE_PANEL),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Run directory of an earlier audit: exit with 3 when a figure is worse.",
            rich_help_panel=GATE_PANEL,
        ),
    ] = None,
    not_worse_than: Annotated[
        list[str] | None,
        typer.Option(
            metavar="1pt|METRIC=1pt",
            help="With --baseline: exit with 3 unless the accuracy is shown to be worse by less than this, instead of "
            "on every significant loss. Of another figure METRIC=1pt; repeatable, all must hold.",
            rich_help_panel=GATE_PANEL,
        ),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the outcome as JUnit XML.", rich_help_panel=GATE_PANEL),
    ] = None,
    sarif: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write findings, and what is not met, as SARIF 2.1.0 for code hosts and editors.",
            rich_help_panel=GATE_PANEL,
        ),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl|DIR",
            help="Count audits and gates of these images in a file, or in test-sets.jsonl of a folder. The report "
            "shows how often they were audited. The file holds fingerprints, no images and no names.",
            rich_help_panel=GATE_PANEL,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print report.json instead of the summary.")] = False,
) -> None:
    """Find where a classifier fails: findings ranked by harm, report.html and report.json."""
    if data is None:
        if model not in (None, DEFAULT_MODEL):
            raise InputError(
                f"name the images to audit {model!r} on: snellen audit {shlex.quote(model)} DATA (a folder with one "
                f"subfolder for each class, a manifest .csv or .parquet, or a MedMNIST-style .npz)"
            )
        data = DEFAULT_DATA
    level = None if effort is None else effort.level
    choice = under_options(context, Choice(checks, level, _parameters(settings or []), read_columns(column)))
    threats = tuple(threat or ())
    gate_options = read_gate_options(require, fail_on, baseline, junit, not_worse_than, sarif)
    if part is not None and gate_options.given and not any(written(context, name) for name in _GATE):
        gate_options = GateOptions()  # the file's are for the command that makes the report
    if part is not None and (out is None or gate_options.given):
        raise InputError(
            "--part needs --out, the run directory that all parts share; and --require, --fail-on, --baseline, "
            "--not-worse-than, --junit and --sarif go with the command without --part, which makes the report"
        )
    given = model_options(model_args, size, mean, std)
    folder = out or free_folder("snellen-audit")
    with loading("reading images and model") as spinner:
        from snellen.auditing.audit import audit as run_audit
        from snellen.auditing.checks import resolve_checks
        from snellen.auditing.effort import chosen_checks, named_outright, with_settings
        from snellen.core.budget import seconds_of
        from snellen.core.run import canonical_json
        from snellen.data.factors import columns_beside
        from snellen.models.classifiers.references import load_classifier
        from snellen.runs.estimate import plan
        from snellen.runs.given import given_companion

        # What can be refused without the images is refused before they are read.
        if budget is not None:
            seconds_of(budget)
        level = choice.effort
        of = "single" if task is None else task.kind
        chosen = with_settings(choice.checks, level, choice.settings, of)
        running = resolve_checks(chosen_checks(chosen, level, task=of), threats, of, domain)
        earlier = check_gate_options(gate_options, running, folder, of)
        images = read_images(data, {"columns": choice.columns, "masks": masks, "table": table}, spinner)
        beside = columns_beside(images, choice.columns)
        training = None if train is None else given_companion(train, beside, spinner)
        chooses = None if val is None else given_companion(val, beside, spinner)
        classifier = load_classifier(
            model or DEFAULT_MODEL,
            classes,
            device=device,
            task=None if task is None else task.kind,
            output=None if output is None else output.value,
            **given,
        )
        if classifier.task == "multilabel":
            check_gate_names(gate_options, running, classifier.task, classifier.class_names)
        check_baseline(earlier, classifier, images)
    options: dict[str, Any] = {
        "out": folder,
        "effort": level,
        "checks": chosen,
        "threats": threats,
        "domain": domain,
        "train": training,
        "val": chooses,
        "batch_size": batch_size,
        "workers": workers,
        "limit": limit,
        "budget": budget,
        "seed": seed,
        "save_images": save_images,
        "pseudonyms": pseudonyms,
        "engine": engine,
        "processes": processes,
        "address": address,
        "shards": shards,
        "threads": threads,
        "part": part,
        "costs": costs,
        "prevalence": prevalence,
        "allow_rejected": allow_rejected,
        "ledger": ledger,
    }
    if dry_run:
        estimate = plan(run_audit, classifier, images, **options)
        typer.echo(canonical_json(estimate.model_dump(mode="json")) if as_json else str(estimate), nl=not as_json)
        return
    with ended_like_ctrl_c(), show_how_to_resume(folder, out), TerminalProgress() as progress:
        report = run_audit(classifier, images, progress=progress, **options)
    if as_json:
        typer.echo(canonical_json(report.to_json()), nl=False)
    elif part is not None:
        typer.echo("\n".join(report.notes))
    else:
        show_report(report, folder, level or (None if named_outright(chosen) else "standard"), data=data)
    # With pseudonyms no name of a file may stand anywhere: what is found is shown at the report then.
    places = {"model": "", "data": ""} if pseudonyms else {"model": model or DEFAULT_MODEL, "data": data}
    gate = judge_audit(gate_options, report, earlier, folder, **places)
    show_gate(gate, on_error_stream=as_json)
    if not gate.passes:
        raise typer.Exit(EXIT_GATE)


def _parameters(settings: list[str]) -> dict[str, dict[str, object]]:
    """``CHECK.FIELD=VALUE`` as parameters by check; a value that is JSON is taken as such."""
    found: dict[str, dict[str, object]] = {}
    for setting in settings:
        place, equals, text = setting.partition("=")
        check, dot, field = place.strip().partition(".")
        if not (check and dot and field and equals):
            raise InputError(f"--set {setting!r}: expected CHECK.FIELD=VALUE, such as corruption.benchmark=bloodmnist")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found.setdefault(check, {})[field.replace("-", "_")] = value
    return found
