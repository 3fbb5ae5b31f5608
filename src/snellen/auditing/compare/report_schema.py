"""JSON Schema of report.json, made of the report's own model."""

from __future__ import annotations

from typing import Any, get_args

from snellen.auditing.report import AuditReport
from snellen.core.finding import Level
from snellen.core.formats import REPORT


def report_schema() -> dict[str, Any]:
    """The schema of what :meth:`AuditReport.to_json` gives.

    >>> sorted(report_schema()["$defs"]["Finding"]["required"])[:4]
    ['examples', 'facts', 'harm', 'key']
    """
    schema = AuditReport.model_json_schema(mode="serialization")
    # The run directory is no part of the file.
    schema["properties"].pop("folder", None)
    finding = schema["$defs"]["Finding"]
    # Computed when the report is written.
    finding["properties"]["level"] = {
        "description": "by harm beyond the usual: severe from 0.2, moderate from 0.05, mild from 0.005, else a note",
        "enum": list(get_args(Level)),
        "title": "Level",
        "type": "string",
    }
    finding["properties"]["key"] = {
        "description": "kind and subject: the same in every run",
        "title": "Key",
        "type": "string",
    }
    finding["required"] = sorted({*finding["properties"]})
    return REPORT.schema(schema)
