"""``snellen.open_report``: the report of a finished audit, from its run directory."""

from __future__ import annotations

import json
from pathlib import Path

from snellen.auditing.compare.run_record import read_json, report_from_json
from snellen.auditing.report import AuditReport


def open_report(folder: Path | str) -> AuditReport:
    """Open the report of a finished audit, or one that :meth:`AuditReport.save` wrote.

    Raises:
        InputError: there is no report in the folder, or one of another version.
    """
    place = Path(folder)
    report = report_from_json(read_json(place, "report.json"), place)
    rejected = place / "rejected.json"
    rows = json.loads(rejected.read_bytes()) if rejected.is_file() else []
    return report.keeping(folder=place, rejected=rows)
