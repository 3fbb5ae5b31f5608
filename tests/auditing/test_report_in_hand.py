"""A report as a caller holds it: shown, as tables, saved and opened again."""

import copy
import gc
import json
import tempfile

import numpy as np
import pytest
from torch import nn

import snellen
from snellen.core.errors import InputError, UnknownNameError


@pytest.fixture(scope="module")
def report():
    """Of a network that always gives one class, on images of two, of which one picture is broken."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 2))
    nn.init.zeros_(network[1].weight)
    network[1].bias.data[:] = network[1].bias.new_tensor([1.0, 0.0])
    return snellen.audit(network, pixels, labels=["cat", "dog"] * 30, checks=["clean", "selective"])


def test_it_is_shown_as_text_where_there_is_no_notebook(report, capsys):
    report.show()
    told = capsys.readouterr().out
    assert "Preprocessing: cut or padded to 16x16 pixels; values in [0, 1], not normalised" in told
    assert "Model: the model names no classes: they are taken to be those of the images" in told
    assert "clean.accuracy           0.5000" in told
    assert "The classifier answers cat for every image" in told


def test_it_is_a_table_and_a_page(report):
    figures = report.to_pandas()
    assert figures.loc["clean.accuracy", "value"] == report.metrics["clean.accuracy"].value
    assert figures.loc["clean.accuracy", "n"] == 60
    findings = report.to_pandas("findings")
    assert list(findings["title"]) == [finding.title for finding in report.findings]
    with pytest.raises(UnknownNameError, match="table of a report 'finding'"):
        report.to_pandas("finding")
    assert report.html.startswith("\n<!doctype html>") or "<!doctype html>" in report.html
    assert "data:image/webp" in report.html, "pictures of a report in memory"
    assert "Preprocessing: cut or padded" in report._repr_html_()


def test_its_names_are_few_and_its_line_is_short(report):
    assert {"show", "html", "findings", "metrics", "to_pandas", "save"} <= set(dir(report))
    assert not {"model_dump", "copy", "json"} & set(dir(report))
    assert len(repr(report)) < 200


def test_what_is_saved_is_opened_again(report, tmp_path):
    page = report.save(tmp_path / "kept")
    again = snellen.open_report(tmp_path / "kept")
    assert again.to_json() == report.to_json()
    assert report.html == page.read_text(encoding="utf-8")
    assert sorted(again.html) == sorted(report.html), "the same page; facts of a finding come sorted from a file"
    assert json.loads((tmp_path / "kept" / "report.json").read_text()) == report.to_json()
    with pytest.raises(InputError, match="there is no such folder"):
        snellen.open_report(tmp_path / "nowhere")


def test_the_report_of_a_run_is_opened_from_its_folder(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 2))
    made = snellen.audit(network, pixels, labels=[0, 1] * 10, checks=["clean"], out=tmp_path / "run")
    again = snellen.open_report(tmp_path / "run")
    assert again.to_json() == made.to_json()
    assert sorted(again.html) == sorted((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    with pytest.raises(InputError, match="holds a run; save the report into another folder"):
        made.save(tmp_path / "run")


def test_a_saved_report_is_a_whole_run(report, tmp_path):
    """Treatments and comparisons begin from it as from a run that was written at once."""
    (tmp_path / "a").mkdir(mode=0o700)
    for name in ("a", "b", "a"):
        report.save(tmp_path / name)  # once more, as a cell that is run again does
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700, "the folder keeps its rights"
    written = {one.name for one in (tmp_path / "a").iterdir()}
    assert {"manifest.json", "evidence", "report.html", "timing.json"} <= written
    found = snellen.compare(tmp_path / "a", tmp_path / "b")
    assert {figure.verdict for figure in found.figures if figure.first is not None} == {"same"}
    snellen.open_report(tmp_path / "a").save(tmp_path / "c")
    assert (tmp_path / "c" / "evidence" / "clean.parquet").is_file()


def test_the_files_of_a_report_go_with_it():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 2))
    made = snellen.audit(network, pixels, labels=[0, 1] * 10, checks=["clean"])
    place = made._kept.path
    assert (place / "manifest.json").is_file()
    assert place.parent.stat().st_mode & 0o077 == 0, "nobody else may read it"
    other = copy.deepcopy(made)
    del made
    assert place.exists()
    del other
    gc.collect()
    assert not place.parent.exists()


def test_a_report_without_its_run_says_so(report, tmp_path):
    place = tmp_path / "alone"
    report.save(place)
    (place / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"holds a report alone, and no manifest.json; audit again into a folder"):
        snellen.treat(place, train=([], []))


def test_no_folder_is_left_where_an_audit_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken on purpose")

    with pytest.raises(Exception, match="broken on purpose"):
        snellen.audit(Broken(), np.zeros((4, 8, 8, 3), np.uint8), labels=[0, 1, 0, 1], checks=["clean"])
    assert not list(tmp_path.glob("snellen-*"))
