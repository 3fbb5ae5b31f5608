"""What ``snellen audit`` prints of a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from snellen.cli.shown_table import show_table
from snellen.cli.text import markup, terminal

if TYPE_CHECKING:
    from rich.console import Console

    from snellen.auditing.effort import Effort
    from snellen.auditing.report import AuditReport


def show_report(report: AuditReport, folder: Path, effort: Effort | None = None, *, data: str = "") -> None:
    """Print figures, findings, what was skipped, and where the page is; ``data`` is the reference of the images."""
    from rich.table import Table

    from snellen.auditing.checks.fitting_kinds import DOMAIN_NOTE
    from snellen.auditing.effort import left_out
    from snellen.auditing.ledger import ledger_words
    from snellen.core.finding import FIGURES_OF_BAGS
    from snellen.data.rejections import listed_reasons

    console = terminal()
    drawn = report.data.get("drawn_from")
    limited = f": {report.data['images']} of {drawn} images, drawn at random" if drawn else ""
    console.print(f"[bold]{markup(report.model['name'])}[/] on {markup(report.data['name'])}{limited}", soft_wrap=True)
    console.print(f"[dim]preprocessing:[/] {markup(report.model['preprocessing'])}", soft_wrap=True)
    for note in report.model["notes"]:
        console.print(f"[dim]model:[/] {markup(note)}", soft_wrap=True)
    if "ledger" in report.data:
        console.print(markup(ledger_words(report.data["ledger"])), soft_wrap=True)
    for note in report.notes:
        if note.startswith(DOMAIN_NOTE):
            console.print(f"[dim]damage:[/] {markup(note.removeprefix(DOMAIN_NOTE).strip())}", soft_wrap=True)
    console.print()
    single = Table("metric", "value", "95 % interval", "images", box=None, pad_edge=False)
    for column in single.columns[1:]:
        column.justify = "right"
    grid: dict[str, dict[str, str]] = {}
    several = report.model["task"] == "multilabel"
    what = "accuracy"
    for name, figure in report.metrics.items():
        if name.startswith("corruption.") and name.endswith(".accuracy"):
            _, kind, severity = name.removesuffix(".accuracy").split(".", 2)
            grid.setdefault(kind, {})[severity] = f"{figure.value:.3f}"
        elif name.startswith("segmentation.corruption."):
            _, _, kind, severity = name.removesuffix(".miou").split(".", 3)
            grid.setdefault(kind, {})[severity] = f"{figure.value:.3f}"
            what = "mIoU"
        elif several and (name.count(".") > 1 or not name.startswith("labels.")):
            continue  # figures of each label are in the table below, and in the report
        elif not (name.startswith("corruption.") and name.count(".") > 1):  # errors by kind are in the report
            count = f"{figure.n} bags" if name in FIGURES_OF_BAGS else str(figure.n)
            single.add_row(markup(name), f"{figure.value:.4f}", f"{figure.low:.4f} – {figure.high:.4f}", count)
    if report.metrics:
        show_table(console, single)
    if several:
        _show_labels(report, console)
    if grid:
        severities = list(dict.fromkeys(severity for row in grid.values() for severity in row))
        table = Table(f"\n{what} at severity", *(f"\n{s}" for s in severities), box=None, pad_edge=False)
        for kind, row in grid.items():
            table.add_row(kind, *(row.get(severity, "") for severity in severities))
        show_table(console, table)
    colours = {"severe": "red", "moderate": "yellow", "mild": "cyan", "note": "dim"}
    findings = Table("\nharm", "\nlevel", "\nfinding", box=None, pad_edge=False)
    for finding in report.findings:
        style = colours[finding.level]
        findings.add_row(f"{finding.harm:.1%}", f"[{style}]{finding.shown_level}[/]", markup(finding.title))
    if report.findings:
        show_table(console, findings)
    else:
        console.print(f"\n{report.nothing_found}", soft_wrap=True)
    if report.sight:
        console.print("\n[dim]Not found, though nine of ten audits would find it:[/]")
        for words in report.sight:
            console.print(f"[dim]  {markup(words)}[/]", soft_wrap=True)
    idle = [check for check in report.checks if check.status != "done"]
    if idle:
        console.print()
    same: dict[tuple[str, str], list[str]] = {}
    for check in idle:
        same.setdefault((check.status, check.reason or ""), []).append(check.name)
    for (status, reason), names in same.items():
        line = f"[dim]check{'s' if len(names) > 1 else ''} {', '.join(names)} {status}:[/] {markup(reason)}"
        console.print(line, **({"soft_wrap": True} if len(names) > 1 else {"no_wrap": True, "overflow": "ellipsis"}))
    less = None if effort is None else left_out(effort, [check.name for check in report.checks], report.model["task"])
    if less is not None:
        console.print(f"\n[dim]{less}[/]", soft_wrap=True)
    if report.data["rejected"]:
        why = markup(listed_reasons(report.data["rejected_reasons"]))
        lost = f"{report.data['rejected']} of {report.data['images']} images rejected"
        console.print(f"\n{lost}: {why}; see {markup(str(folder / 'rejected.json'))}", soft_wrap=True)
    _show_treatment(report, folder, console, data)
    console.print(f"\nReport: {markup(str(folder / 'report.html'))}", soft_wrap=True)


def _show_treatment(report: AuditReport, folder: Path, console: Console, data: str) -> None:
    """The command for the first finding that one treats, what must be added to it, and what helps before it."""
    from snellen.checks.treatments import IN_FOLDER, STAND_FOR, TRAINING_IMAGES, from_elsewhere
    from snellen.data.files.bundled import training_images_of

    advised = [one for one in report.findings if one.level != "note" and one.treatments]
    place = next((at for at, one in enumerate(advised) if one.treatments[0].startswith(IN_FOLDER)), None)
    if place is None:
        if advised:
            console.print(f"\nNo command treats the first: {markup(advised[0].treatments[0])}", soft_wrap=True)
        return
    command = from_elsewhere(advised[place].treatments[0], str(folder))
    what = "the first" if not place else f"the first that can be ({markup(advised[place].key)})"
    console.print(f"\nTreat {what}: {markup(command)}", soft_wrap=True)
    for name, meaning in STAND_FOR.items():
        if name in command:
            console.print(f"[dim]{name} stands for {meaning}[/]", soft_wrap=True)
    known = training_images_of(data)
    if known is not None and TRAINING_IMAGES in command:
        console.print(
            f"[dim]The bundled images are test images. Others of their source are {known}; "
            f"snellen.load_images({known!r}) says how they are installed[/]",
            soft_wrap=True,
        )


def _show_labels(report: AuditReport, console: Console) -> None:
    """The table of labels."""
    from rich.table import Table

    panel = next((one for one in report.panels if one.check == "labels"), None)
    if panel is None:
        return
    table = Table(*(f"\n{name}" for name in panel.head), box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in panel.rows:
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else markup(str(cell)) for cell in row))
    show_table(console, table)
    console.print(f"[dim]{markup(panel.about)}[/]")
