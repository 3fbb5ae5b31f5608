"""``snellen report`` and ``snellen cite`` as a user meets them."""

import pytest

import snellen


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("audited") / "run"
    images = snellen.load_images("bundled:fashion-mnist").limit(20)
    snellen.audit("bundled:fashion-cnn", images, checks=["clean", "calibration"], out=place)
    return place


def test_a_run_is_exported(run, folder, tmp_path):
    code, out, _ = run("report", folder, "--to", "md", "--out", "exported/report.md")
    assert (code, out) == (0, "Written: exported/report.md\n")
    assert (tmp_path / "exported" / "report.md").read_text().startswith("# Audit of bundled:fashion-cnn")
    code, out, _ = run("report", folder, "--to", "html", "--out", "page.html")
    assert code == 0
    assert (tmp_path / "page.html").read_bytes() == (folder / "report.html").read_bytes()
    pytest.importorskip("reportlab", reason="reportlab is not installed")
    assert run("report", folder)[0] == 0
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_documents_for_auditors_are_exported(run, folder, tmp_path):
    assert run("report", folder, "--to", "model-card")[0] == 0
    assert (folder / "model-card.md").read_text(encoding="utf-8").startswith("---\n")
    assert run("report", folder, "--to", "claim", "--out", "new/appendix.md")[:2] == (0, "Written: new/appendix.md\n")
    assert (tmp_path / "new" / "appendix.md").read_text(encoding="utf-8").startswith("# CLAIM 2024: ")
    assert run("report", folder, "--to", "claim", "--out", "claim.html")[0] == 0
    assert "<title>CLAIM 2024: bundled:fashion-cnn</title>" in (tmp_path / "claim.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("to", ["md", "claim"])
def test_a_folder_is_no_file_to_write(run, folder, to):
    code, _, err = run("report", folder, "--to", to, "--out", ".")
    assert code == 2
    assert "--out . is a folder; name a file, such as " in err


def test_the_ending_of_the_file_is_its_form(run, folder, tmp_path):
    assert run("report", folder, "--out", "x.md")[0] == 0
    assert (tmp_path / "x.md").read_text().startswith("# Audit of bundled:fashion-cnn")
    assert run("report", folder, "--out", "x.HTM")[0] == 0
    assert (tmp_path / "x.HTM").read_bytes() == (folder / "report.html").read_bytes()
    assert run("report", folder, "--to", "md", "--out", "x.txt")[0] == 0
    assert (tmp_path / "x.txt").read_text().startswith("# Audit of")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "x"), "names no form"),
        (("--out", "x.docx"), "end it in .pdf, .md or .html"),
        (("--to", "pdf", "--out", "x.md"), "--out x.md and --to pdf name two forms"),
        (("--to", "claim", "--out", "x.pdf"), "--out x.pdf and --to claim name two forms"),
    ],
)
def test_a_form_that_is_not_clear_is_refused(run, folder, tmp_path, options, words):
    code, _, err = run("report", folder, *options)
    assert code == 2
    assert words in " ".join(err.split())
    assert not (tmp_path / options[-1]).exists()


def test_an_export_is_no_part_of_the_run(run, folder):
    before = (folder / "report.json").read_bytes()
    assert run("report", folder, "--to", "md")[0] == 0
    images = snellen.load_images("bundled:fashion-mnist").limit(20)
    again = snellen.audit("bundled:fashion-cnn", images, checks=["clean", "calibration"], out=folder)
    assert again.metrics == snellen.open_report(folder).metrics
    assert (folder / "report.json").read_bytes() == before
    assert (folder / "report.md").is_file()


@pytest.mark.parametrize("command", ["report", "cite"])
def test_what_is_no_run_is_refused(run, tmp_path, command):
    code, _, err = run(command, tmp_path)
    assert code == 2
    assert ("the audit in it is not finished" if command == "report" else "holds no report") in err


def test_a_run_is_cited(run, folder):
    code, out, _ = run("cite", folder)
    assert code == 0
    assert "@article{benjamini1995,\n" in out
    assert "@inproceedings{guo2017,\n" in out
    code, out, _ = run("cite", folder, "--text")
    assert out.splitlines()[0].startswith("The Snellen developers. Snellen ")
    assert len(out.splitlines()) == 4
