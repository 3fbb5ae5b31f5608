"""``snellen compare`` as a user meets it."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from snellen.auditing.compare.comparison import MARGIN
from snellen.cli.compare import folded


@pytest.fixture(scope="module")
def audits(tmp_path_factory):
    """The bundled model audited on other images than its own second audit."""
    import snellen

    folder = tmp_path_factory.mktemp("audits")
    classifier, images = snellen.load_classifier("bundled:fashion-cnn"), snellen.load_images("bundled:fashion-mnist")
    for name, count in (("a", 60), ("b", 60), ("fewer", 30)):
        snellen.audit(
            classifier,
            images.limit(count),
            out=folder / name,
            checks=["clean", "calibration", {"check": "corruption", "kinds": ["fog"], "severities": [1]}],
        )
    return folder


def test_equal_runs(run, audits, tmp_path):
    code, out, err = run("compare", audits / "a", audits / "b", "--out", tmp_path / "compared", "--fail-on-loss")
    assert (code, err) == (0, "")
    assert "60 images, each compared with itself" in out
    assert "worse" not in out
    record = json.loads((tmp_path / "compared" / "comparison.json").read_text())
    schema = Path(__file__).parents[2] / "docs" / "schemas" / "comparison.schema.json"
    jsonschema.validate(record, json.loads(schema.read_text(encoding="utf-8")))
    assert (record["schema_version"], record["not_worse"]) == (1, [])
    assert {figure["verdict"] for figure in record["figures"]} == {"same"}
    page = (tmp_path / "compared" / "comparison.html").read_text()
    assert "eye-chart" in page
    assert "No figure got significantly better or worse." in page
    assert run("compare", audits / "a", audits / "b", "--json")[1] == (
        tmp_path / "compared" / "comparison.json"
    ).read_text(encoding="utf-8")


def test_other_images_are_compared_unpaired_and_said_so(run, audits):
    code, out, _ = run("compare", audits / "a", audits / "fewer", "--every")
    assert code == 0
    assert "not paired" in out
    assert "nothing is paired" in " ".join(out.split())
    assert "clean.accuracy" in out


def test_at_eighty_columns_no_number_is_broken(run, audits, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run("compare", audits / "a", audits / "fewer", "--every")
    assert max(map(len, out.splitlines())) <= 80
    table = out.partition("Figures:")[0]
    rows = [line for line in table.splitlines() if line.startswith("clean.accuracy")]
    assert re.search(r"clean\.accuracy +0\.\d{4} +0\.\d{4} +[+-]0\.\d{4} +[+-]\d\.\d{4} to [+-]\d\.\d{4} +\w+", rows[0])
    for name in ("ece", "temperature"):
        assert re.search(rf"^ ?[a-z_.]*{name}\b", table, re.MULTILINE), table


@pytest.mark.parametrize("width", [8, 18, 23, 80])
def test_names_fold_at_dots_and_lose_nothing(width):
    for name in (
        "corruption.gaussian_noise.1.accuracy",
        "class.a.b.accuracy",
        "x",
        "",
        "calibration.ece_with_temperature",
    ):
        lines = folded(name, width).split("\n")
        assert "".join(line.strip() for line in lines) == name
        assert all(line.endswith((".", "_")) for line in lines[:-1])
    assert folded("corruption.gaussian_noise.1.accuracy", 23).split("\n")[0] == "corruption."


def test_what_is_no_run_exits_with_2(run, audits, tmp_path):
    code, _, err = run("compare", audits / "a", tmp_path)
    assert code == 2
    assert "it is no run directory of an audit" in " ".join(err.split())
    (tmp_path / "file").write_text("")
    code, _, err = run("compare", audits / "a", audits / "b", "--out", tmp_path / "file")
    assert code == 2
    assert "cannot write" in err


def test_the_margin_is_that_of_the_python_call():
    import inspect

    import snellen
    from snellen.cli.compare import compare

    assert inspect.signature(compare).parameters["margin"].default == MARGIN
    assert inspect.signature(snellen.compare).parameters["margin"].default == MARGIN
