"""What an audit writes follows the schema that the package makes."""

import json

import jsonschema
import pytest

from snellen.auditing.report import report_schema


def test_a_report_follows_it(audits):
    record = json.loads((audits / "a" / "report.json").read_text())
    schema = report_schema()
    assert record["metrics"]
    assert record["checks"]
    jsonschema.validate(record, schema)
    for broken in (
        {**record, "metrics": 3},
        {**record, "more": 1},
        {key: value for key, value in record.items() if key != "model"},
        {**record, "schema_version": 99},
        {**record, "findings": [{"title": "no more"}]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema)
