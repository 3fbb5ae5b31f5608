"""The model that corruption errors are divided by: a stored one, or one that was audited here."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from snellen.checks.check import CheckFigure
from snellen.checks.strengths import normalised_errors
from snellen.core.errors import InputError, unknown_name
from snellen.core.formats import REPORT
from snellen.core.run import read_manifest
from snellen.methods.corruptions.benchmarks import IMAGENET_C
from snellen.metrics.corruption_error import Reference, stored_reference, stored_reference_names

#: Parameters of the check that the reference must share.
CONDITIONS = ("benchmark", "severities", "strict", "parity", "textures")


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


def benchmark_of(reference: object) -> str:
    """Name of the benchmark whose errors a reference has; that of ImageNet-C where it does not say."""
    return str(reference.conditions.get("benchmark", IMAGENET_C)) if isinstance(reference, Reference) else IMAGENET_C


def _from_run(folder: Path) -> Reference:
    try:
        report = REPORT.read(json.loads((folder / "report.json").read_bytes()), folder / "report.json")
        manifest = read_manifest(folder)
        figures = {name: figure["value"] for name, figure in report["metrics"].items()}
        source = f"audited on {report['data']['name']}"
        name, data = str(report["model"]["name"]), str(report["data"]["fingerprint"])
        check = next((check for check in manifest["checks"] if check["check"] == "corruption"), None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder} is no run directory of a finished audit: {error}") from error
    parts = [(metric.split("."), value) for metric, value in figures.items() if metric.startswith("corruption.")]
    errors = {part[1]: float(value) for part, value in parts if len(part) == 3 and part[2] == "error"}
    if not errors or check is None:
        raise InputError(f"the audit in {folder} measured no corruption; run it with the check corruption")
    return Reference(
        name=name,
        clean_error=float(figures["corruption.clean_error"]),
        mean_errors=errors,
        severities=len(check["severities"]),
        source=source,
        conditions={**{key: check[key] for key in CONDITIONS}, "data": data},
    )


def check_reference(reference: Reference, kinds: Collection[str], check: Mapping[str, object]) -> None:
    """Refuse a reference whose errors were measured under other conditions, or not under all of some kinds.

    Args:
        reference: an unknown condition is not compared.
        kinds: that it must have errors of.
        check: the parameters of the check, as JSON values.

    Raises:
        InputError: the kinds that are missing, or a condition that differs with both of its values.
    """
    missing = [kind for kind in kinds if kind not in reference.mean_errors]
    if missing:
        raise InputError(f"the reference {reference.name!r} has no error for {', '.join(missing)}")
    for key in CONDITIONS:
        theirs, ours = reference.conditions.get(key, check[key]), check[key]
        if key == "severities":
            theirs, ours = sorted(map(float, _many(theirs))), sorted(map(float, _many(ours)))
        if theirs != ours:
            raise InputError(f"the reference {reference.name!r} was measured at {key} {theirs}, this check at {ours}")


def reference_notes(reference: Reference, metrics: Mapping[str, CheckFigure], data: str) -> list[str]:
    """Whose errors were divided by, and what the means leave out; nothing where no error was measured.

    Args:
        reference: that errors are divided by.
        metrics: those of :func:`snellen.checks.strengths.error_metrics`.
        data: fingerprint of the images.
    """
    if not metrics:
        return []
    found = normalised_errors(metrics, reference)
    lines = [
        f"corruption.mce and corruption.relative_mce divide errors by those of {reference.name} ({reference.source}), "
        f"taken as known."
    ]
    if reference.conditions.get("data", data) != data:
        lines.append(f"{reference.name} was measured on other images than these.")
    lines += [f"No corruption.mce of {kind}: {why}." for kind, why in found.undefined.items()]
    lines += [f"No corruption.relative_mce of {kind}: {why}." for kind, why in found.relative_undefined.items()]
    if found.unmeasured:
        lines.append(
            f"The means leave out {', '.join(found.unmeasured)}, which were not measured: they are not the benchmark's "
            f"mCE."
        )
    return lines


def _many(values: object) -> list[float]:
    return list(values) if isinstance(values, (list, tuple)) else []
