"""Command lines made of forms."""

import pytest

from snellen.core.errors import InputError
from snellen.desk.commands import audit_command, treat_command
from snellen.desk.jobs import Jobs


def test_an_audit_is_what_the_form_says(tmp_path):
    form = {"model": ["onnx:my model.onnx"], "data": [" photos "], "effort": ["quick"], "budget": ["90s"], "out": ["x"]}
    words, out = audit_command(form, tmp_path)
    assert words == [
        "snellen", "audit", "onnx:my model.onnx", "photos", "--effort", "quick", "--budget", "90s", "--out",
        str(tmp_path / "x"),
    ]  # fmt: skip
    assert out == tmp_path / "x"
    (tmp_path / "audit").mkdir()
    assert audit_command({"model": ["m"], "data": ["d"]}, tmp_path)[1] == tmp_path / "audit-2"
    assert audit_command({"model": ["m"], "data": ["d"]}, tmp_path, dry=True) == (
        ["snellen", "audit", "m", "d", "--dry-run"],
        None,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""), ("data", ""), ("model", "--out=/tmp/x"), ("data", "-h"), ("train", "--allow-remote=evil.com"),
        ("effort", "all"), ("budget", "1h; rm"), ("budget", "-1"), ("out", "../elsewhere"), ("out", "/tmp/x"),
        ("out", ".hidden"), ("out", "a\\b"), ("model", "a\nb"), ("model", "x" * 2001), ("data", "\x1b[31m"),
    ],
)  # fmt: skip
def test_what_is_no_value_of_its_field_is_refused(tmp_path, field, value):
    form = {"model": ["m"], "data": ["d"], field: [value]}
    with pytest.raises(InputError, match=r"field|effort|budget|out|name"):
        audit_command(form, tmp_path)


def test_findings_are_those_of_the_run(first, tmp_path):
    words, _ = treat_command({"finding": ["label_noise", "duplicate:near"], "table": ["t.csv"]}, first, tmp_path)
    assert words[3:11] == [
        "--table", "t.csv", "--column", "image=id", "--column", "label=label", "--finding", "label_noise",
    ]  # fmt: skip
    with pytest.raises(InputError, match="no finding"):
        treat_command({"finding": ["--out=x"]}, first, tmp_path)


@pytest.mark.parametrize("words", [["rm", "-r"], ["snellen"], ["snellen", "ui"], ["snellen", "--version"], []])
def test_no_other_command_is_started(tmp_path, words):
    with pytest.raises(InputError, match="alone"):
        Jobs(tmp_path, tmp_path).start(words, None)
