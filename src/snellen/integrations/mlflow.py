"""An audit, or a comparison of two, in a run of MLflow: figures, findings, the report."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from snellen.auditing.compare.comparison import Comparison
from snellen.auditing.report import AuditReport
from snellen.core.errors import InputError, import_extra
from snellen.integrations.logged_audit import PREFIX, logged

#: What MLflow refuses in names, and a slash, which would be a folder.
_REFUSED = re.compile(r"[^\w.\- ]")

#: Characters that a tag may have, and a name.
_LONGEST, _LONGEST_NAME = 5000, 250


def log_audit(
    result: AuditReport | Comparison, *, run_id: str | None = None, step: int | None = None, prefix: str = PREFIX
) -> None:
    """Log an audit or a comparison to a run of MLflow.

    Metrics are the figures with the ends of their 95 % intervals, and the numbers of findings; tags identify model and
    data; artifacts are the page, the JSON record and the table of findings. Characters that MLflow refuses in names
    become ``_``. Names that are too long, or that this would make equal, end in a hash.

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
    names = _names(parts.numbers, prefix)
    mlflow.log_metrics(dict(zip(names, parts.numbers.values(), strict=True)), step=step, run_id=run)
    client = mlflow.MlflowClient()
    for name, text in parts.labels.items():
        client.set_tag(run, name, text[:_LONGEST])
    rows = {"columns": list(parts.head), "data": [list(row) for row in parts.findings]}
    with tempfile.TemporaryDirectory() as folder:
        files = {**parts.files, "findings.json": json.dumps(rows, indent=1).encode("utf-8")}
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        client.log_artifacts(run, folder, prefix.strip("/") or None)


def _names(names: Iterable[str], prefix: str) -> list[str]:
    """Names that MLflow takes, as many as there are.

    >>> _names(["label.a/b", "label.a|b", "label.c d"], "mine/")
    ['mine/label.a_b-71c7201d', 'mine/label.a_b-852787d3', 'mine/label.c d']
    """
    plain = {name: f"{prefix}{_REFUSED.sub('_', name)}" for name in names}
    often = Counter(plain.values())
    found = []
    for name, one in plain.items():
        if often[one] > 1 or len(one) > _LONGEST_NAME:
            one = f"{one[: _LONGEST_NAME - 9]}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"
        found.append(one)
    return found
