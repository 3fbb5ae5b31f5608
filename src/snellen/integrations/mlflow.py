"""An audit, or a comparison of two, in a run of MLflow: figures, findings, the report."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

from snellen.auditing.compare.comparison import Comparison
from snellen.auditing.report import AuditReport
from snellen.core.errors import InputError, import_extra
from snellen.integrations.logged_audit import PREFIX, logged

#: What MLflow refuses in names, and a slash, which would be a folder.
_REFUSED = re.compile(r"[^\w.\- ]")

#: Characters that a tag may have.
_LONGEST = 5000


def log_audit(
    result: AuditReport | Comparison, *, run_id: str | None = None, step: int | None = None, prefix: str = PREFIX
) -> None:
    """Log an audit or a comparison to a run of MLflow.

    Metrics are the figures with the ends of their 95 % intervals, and the numbers of findings; tags identify model and
    data; artifacts are the page, the JSON record and the table of findings. Characters that MLflow refuses in names
    become ``_``.

    Args:
        result: of :func:`snellen.audit` or :func:`snellen.compare`.
        run_id: of the run; None: the active one.
        step: of the metrics.
        prefix: of metrics and artifacts; ends in a slash.

    Raises:
        InputError: no run is active and none is named.
        MissingExtraError: MLflow is not installed.
    """
    mlflow = import_extra("mlflow", "mlflow", "log_audit")
    active = mlflow.active_run()
    if run_id is None and active is None:
        raise InputError("no run of MLflow is active: log inside of `with mlflow.start_run():`, or give run_id=")
    run = active.info.run_id if run_id is None else run_id
    parts = logged(result)
    numbers = {f"{prefix}{_REFUSED.sub('_', name)}": value for name, value in parts.numbers.items()}
    mlflow.log_metrics(numbers, step=step, run_id=run)
    client = mlflow.MlflowClient()
    for name, text in parts.labels.items():
        client.set_tag(run, name, text[:_LONGEST])
    rows = {"columns": list(parts.head), "data": [list(row) for row in parts.findings]}
    with tempfile.TemporaryDirectory() as folder:
        files = {**parts.files, "findings.json": json.dumps(rows, indent=1).encode("utf-8")}
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        client.log_artifacts(run, folder, prefix.strip("/") or None)
