"""The model that corruption errors are divided by: a stored one, or one that was audited here."""

from __future__ import annotations

import json
from pathlib import Path

from snellen.errors import InputError, unknown_name
from snellen.metrics.corruption_error import Reference
from snellen.metrics.stored_references import stored_reference, stored_reference_names


def find_reference(given: object) -> object:
    """A reference by its stored name, or from the run directory of an audit; anything else is passed through.

    Raises:
        InputError: neither a stored name nor a run directory with the figures of a corruption check.
    """
    if not isinstance(given, str):
        return given
    if given in stored_reference_names():
        return stored_reference(given)
    if Path(given).is_dir():
        return _from_run(Path(given))
    raise unknown_name("reference (or run directory of an audit)", given, stored_reference_names())


def _from_run(folder: Path) -> Reference:
    try:
        report = json.loads((folder / "report.json").read_text("utf-8"))
        figures = {name: figure["value"] for name, figure in report["metrics"].items()}
        source = f"audited on {report['data']['name']}"
        name = str(report["model"]["name"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder} is no run directory of a finished audit: {error}") from error
    parts = [(metric.split("."), value) for metric, value in figures.items() if metric.startswith("corruption.")]
    errors = {part[1]: float(value) for part, value in parts if len(part) == 3 and part[2] == "error"}
    severities = {".".join(part[2:-1]) for part, _ in parts if len(part) > 3 and part[-1] == "accuracy"}
    if not errors:
        raise InputError(f"the audit in {folder} measured no corruption; run it with the check corruption")
    return Reference(
        name=name,
        clean_error=float(figures["corruption.clean_error"]),
        mean_errors=errors,
        severities=len(severities),
        source=source,
    )
