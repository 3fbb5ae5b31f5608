"""The schema that is shipped is that of the code, and what an audit writes follows it."""

import importlib.util
import json

import pytest

from snellen.auditing.compare.report_schema import report_schema, shipped_schema
from snellen.core.run import canonical_json


def test_the_shipped_file_is_up_to_date():
    told = "rewrite it: canonical_json(report_schema()) → src/snellen/auditing/compare/report.schema.json"
    assert shipped_schema() == canonical_json(report_schema()), told


def follows(value, schema, whole, where="report"):
    """As much of JSON Schema as the shipped one uses; raises AssertionError with the place."""
    if "$ref" in schema:
        return follows(value, whole["$defs"][schema["$ref"].rpartition("/")[2]], whole, where)
    if "anyOf" in schema:
        for choice in schema["anyOf"]:
            try:
                return follows(value, choice, whole, where)
            except AssertionError:
                continue
        raise AssertionError(f"{where}: {value!r} is none of {schema['anyOf']}")
    if "enum" in schema:
        assert value in schema["enum"], where
    kinds = {
        "object": dict, "array": list, "string": str, "boolean": bool, "number": (int, float), "integer": int,
        "null": type(None),
    }  # fmt: skip
    if "type" in schema:
        assert isinstance(value, kinds[schema["type"]]), f"{where}: {value!r} is no {schema['type']}"
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= set(value), f"{where} lacks {set(schema['required']) - set(value)}"
        known, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        for name, member in value.items():
            assert name in known or rest is not False, f"{where} has {name}"
            inner = known.get(name, rest if isinstance(rest, dict) else {})
            follows(member, inner, whole, f"{where}.{name}")
    if isinstance(value, list):
        for place, member in enumerate(value):
            inner = schema.get("prefixItems", ())
            follows(member, inner[place] if place < len(inner) else schema.get("items", {}), whole, f"{where}[{place}]")
    return None


def test_a_report_follows_it(audits):
    record = json.loads((audits / "a" / "report.json").read_text())
    schema = json.loads(shipped_schema())
    assert record["metrics"]
    assert record["checks"]
    follows(record, schema, schema)
    if importlib.util.find_spec("jsonschema"):
        import jsonschema

        jsonschema.validate(record, schema)
    for broken in ({**record, "metrics": 3}, {**record, "more": 1}, {k: v for k, v in record.items() if k != "model"}):
        with pytest.raises(AssertionError):
            follows(broken, schema, schema)
