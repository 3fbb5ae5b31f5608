"""An audit as an assertion: what a failing test says, and where the report is."""

import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import snellen
from snellen.core.errors import InputError
from snellen.testing import assert_audit
from tests.document_blocks import ROOT, blocks_of
from tests.integrations.small_pets import audited

pytest_plugins = ["pytester"]

CLEAN = {"checks": ["clean"]}


def brightest(images):
    """Right on every image."""
    return torch.from_numpy(np.eye(3)[images.mean((2, 3)).argmax(1).numpy()])


def darkest(images):
    return -images.mean((2, 3))


def never_run(images):
    raise AssertionError("the model was run")


def test_what_is_met_gives_the_report():
    report = assert_audit(brightest, audited(), require="clean.accuracy>=0.9", fail_on="severe", **CLEAN)
    assert report.metrics["clean.accuracy"].value == 1


def test_a_failure_names_requirement_figure_interval_and_report(tmp_path):
    with pytest.raises(AssertionError) as failed:
        assert_audit(
            brightest, audited(), require=["clean.accuracy>=0.5", "clean.accuracy>=0.99"], out=tmp_path / "run", **CLEAN
        )
    figure = snellen.open_report(tmp_path / "run").metrics["clean.accuracy"]
    assert str(failed.value).splitlines()[1:] == [
        f"  clean.accuracy>=0.99: lower end {figure.low:.4f} of 1.0000 ({figure.low:.4f} to 1.0000); the estimate "
        "alone would do; more images narrow the interval",
        f"report: {tmp_path / 'run' / 'report.html'}",
    ]
    assert "the audit of brightest on 48 images of pets fails:" in str(failed.value)


def test_without_a_folder_the_report_of_a_failure_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert_audit(brightest, audited(), require="clean.accuracy>=0.5", **CLEAN)
    assert not list(tmp_path.iterdir())
    with pytest.raises(AssertionError, match=r"findings\.note<=0: \d+ findings? of this level or worse: "):
        assert_audit(darkest, audited(), fail_on="note", **CLEAN)
    (page,) = tmp_path.glob("snellen-audit-*/report.html")
    assert page.stat().st_size > 1000


def test_a_baseline_is_compared_with(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    snellen.audit(brightest, audited(), out=tmp_path / "good", **CLEAN)
    assert_audit(brightest, audited(), baseline=tmp_path / "good", **CLEAN)
    with pytest.raises(AssertionError, match=r"clean.accuracy is worse than in the baseline: 1.0000 → 0.0000, -1.0000"):
        assert_audit(darkest, audited(), baseline=tmp_path / "good", **CLEAN)
    with pytest.raises(AssertionError, match=r"the loss is \+1.0000"):
        assert_audit(darkest, audited(), baseline=tmp_path / "good", not_worse_than="20pt", **CLEAN)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing is required"),
        ({"require": "accuracy"}, "expected METRIC>=VALUE"),
        ({"require": "clean.accuracy>=0.5", "not_worse_than": "1pt"}, "give its run directory as baseline"),
        ({"baseline": "no such folder"}, "no such"),
        ({"baseline": "good", "not_worse_than": "much"}, "much"),
        ({"fail_on": "awful"}, "'awful'"),
    ],
)
def test_what_is_wrong_is_refused_before_the_audit(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    snellen.audit(brightest, audited(), out="good", **CLEAN)
    with pytest.raises(InputError, match=message):
        assert_audit(never_run, audited(), **arguments)


def test_a_misspelled_figure_or_level_fails_with_the_names_that_there_are():
    with pytest.raises(AssertionError, match="no level is called 'sever'; these are severe, moderate, mild, note"):
        assert_audit(brightest, audited(), require="findings.sever<=0", **CLEAN)
    with pytest.raises(AssertionError, match=r"clean.acuracy>=0.5: not measured: .*clean.accuracy"):
        assert_audit(brightest, audited(), require="clean.acuracy>=0.5", **CLEAN)


TESTS = """
import numpy as np
import torch

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
LABELS = PIXELS.mean((1, 2)).argmax(1)

def brightest(images):
    return images.mean((2, 3))

def test_it_is_good_enough(assert_audit, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = {"labels": LABELS, "class_names": ["r", "g", "b"], "checks": ["clean"]}
    assert_audit(brightest, PIXELS, require="clean.accuracy>=0.5", **given)
    assert_audit(brightest, PIXELS, require="clean.accuracy>=0.999", **given)

def test_nothing():
    pass
"""


def test_the_fixture_in_a_project(pytester):
    pytester.makepyfile(test_model=TESTS)
    pytester.makeconftest('pytest_plugins = ["snellen.integrations.pytest_plugin"]')
    # In this process: another would import torch again. Plugins of this suite are not those of the project.
    without = (one for name in ("cacheprovider", "randomly", "xdist", "socket") for one in ("-p", f"no:{name}"))
    done = pytester.runpytest_inprocess("-q", *without, "--snellen-audits", "audits", "--junitxml", "tests.xml")
    done.assert_outcomes(failed=1, passed=1)
    shown = done.stdout.str()
    assert "AssertionError: the audit of brightest on 12 images" in shown
    assert "def assert_audit" not in shown, "the traceback ends in the test"
    runs = [
        pytester.path / "audits" / name / "report.html"
        for name in ("test_it_is_good_enough", "test_it_is_good_enough-2")
    ]
    assert all(page.is_file() for page in runs)
    kept = [one.get("value") for one in ElementTree.parse(pytester.path / "tests.xml").iter("property")]
    assert kept == [str(page) for page in runs]
    assert f"report: {runs[1]}" in shown


def test_the_plugin_imports_nothing_heavy():
    code = (
        "import sys, snellen.integrations.pytest_plugin\n"
        "assert not {'torch', 'numpy', 'pyarrow', 'scipy', 'PIL'} & set(sys.modules), sorted(sys.modules)\n"
        "print(sorted(name for name in sys.modules if name.startswith('snellen')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["['snellen',", "'snellen.integrations',", "'snellen.integrations.new_folder',",
                                   "'snellen.integrations.pytest_plugin',", "'snellen.version']"]  # fmt: skip


def test_the_failure_that_the_page_shows_is_what_comes_out():
    images = snellen.load_images("bundled:fashion-mnist").limit(100)
    with pytest.raises(AssertionError) as failed:
        assert_audit("bundled:fashion-cnn", images, require="clean.accuracy>=0.99", **CLEAN)
    shown = next(one.text for one in blocks_of(ROOT / "docs" / "integrations.md") if one.language == "text")
    assert shown.splitlines()[:-1] == f"AssertionError: {failed.value}".splitlines()[:-1]
