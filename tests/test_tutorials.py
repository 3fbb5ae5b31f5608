"""Tutorials and tasks: what stands below their code is what it printed; a run of the suite runs one tutorial."""

import datetime
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "tutorials"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.stem != "README")
TASKS = sorted((ROOT / "docs" / "tasks").glob("*.md"))

#: A name of a tutorial, or "all"; left out, the day chooses one.
VARIABLE = "SNELLEN_TUTORIAL"

#: Takes a minute of a core, and whether a search finds a trigger may depend on the last digits: no day chooses it.
NOT_DAILY = {"find-a-backdoor"}


@pytest.fixture
def cells(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("tutorial_cells")


def test_there_are_eight_and_the_index_lists_them(cells):
    listed = re.findall(r"\]\(([\w-]+)\.md\)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert len(listed) == 8
    assert sorted(listed) == cells.names() == [page.stem for page in PAGES]


@pytest.mark.parametrize("page", [*PAGES, *TASKS], ids=lambda page: page.stem)
def test_outputs_were_made_by_the_code_above_them(cells, page):
    """After a change of the code: python scripts/write_tutorials.py NAME."""
    text = page.read_text(encoding="utf-8")
    parts = cells.read_cells(text)
    assert cells.stated_hash(text) == cells.code_hash(parts)
    assert cells.write_cells(parts) == text, "a page is read and written without a change"
    assert any(part.printed for part in parts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_is_a_story_of_some_length_that_ends_in_an_assertion(cells, page):
    parts = cells.read_cells(page.read_text(encoding="utf-8"))
    assert 10 <= len(parts) <= 24
    assert any("assert " in part.text for part in parts[-3:]), "the last code asserts what was found"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_numbers_in_the_text_stand_in_the_outputs(cells, page):
    parts = cells.read_cells(page.read_text(encoding="utf-8"))
    prose = "\n".join(
        re.sub(r"`[^`]*`|\]\([^)]*\)|<!--.*?-->", "", part.text) for part in parts if part.kind == "prose"
    )
    made = [float(number) for part in parts for number in re.findall(r"\d+(?:\.\d+)?", part.printed.replace(",", ""))]
    made += [
        float(number) for part in parts if part.kind != "prose" for number in re.findall(r"\d+(?:\.\d+)?", part.text)
    ]
    for number in re.findall(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?![\w])", prose):
        value, digits = float(number.replace(",", "")), len(number.partition(".")[2])
        if "." not in number and value < 100:
            continue
        half = 0.5 * 10**-digits + 1e-9
        assert any(abs(scale * one - value) <= half for one in made for scale in (1, 100)), (
            f"{number} is made by no cell"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pictures_are_small_described_and_used(cells, page):
    parts = cells.read_cells(page.read_text(encoding="utf-8"))
    shown = [one for part in parts for one in part.pictures]
    assert sorted(path for _, path in shown) == sorted(
        f"pictures/{file.name}" for file in (FOLDER / "pictures").glob(f"{page.stem}-[0-9]*.png")
    )
    for alt, path in shown:
        assert len(alt.split()) >= 4, f"{path} has no description"
        assert (FOLDER / path).stat().st_size <= cells.PICTURE_BYTES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_holds_the_same_code_and_outputs(cells, page):
    parts = cells.read_cells(page.read_text(encoding="utf-8"))
    made = json.loads(cells.notebook(parts))
    assert (made["nbformat"], len(made["cells"])) == (4, len(parts))
    for part, cell in zip(parts, made["cells"], strict=True):
        assert cell["cell_type"] == ("markdown" if part.kind == "prose" else "code")
        if part.kind == "prose":
            assert "](" not in "".join(cell["source"]), "a link to a page leads nowhere from a notebook"
        if part.kind == "python":
            assert "".join(cell["source"]) == part.text.rstrip("\n")
            assert len(cell["outputs"]) == bool(part.printed) + len(part.pictures)


def test_a_failing_cell_fails_and_writes_nothing(cells, tmp_path, monkeypatch):
    script = importlib.import_module("write_tutorials")
    page = tmp_path / "broken.md"
    drawn = "```python\nfrom PIL import Image\n\nImage.new('L', (2, 2))  # A black square of two\n```\n"
    page.write_text(f"# Broken\n\n{drawn}\n```python\nassert 1 + 1 == 3\n```\n", encoding="utf-8")
    (tmp_path / "pictures").mkdir()
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    with pytest.raises(AssertionError):
        script.write_tutorial("broken")
    assert "made of" not in page.read_text(encoding="utf-8")
    assert not list((tmp_path / "pictures").iterdir()), "a picture of a page that was not written"
    page.write_text(f"# Whole\n\n{drawn}", encoding="utf-8")
    script.write_tutorial("broken")
    assert cells.read_cells(page.read_text(encoding="utf-8"))[1].pictures == (
        ("A black square of two", "pictures/broken-1.png"),
    )
    assert (tmp_path / "pictures" / "broken-1.png").is_file()


def test_the_finding_that_is_read_and_its_figures_are_those_of_the_audit(cells):
    parts = cells.read_cells((ROOT / "docs" / "tasks" / "read-an-interval.md").read_text(encoding="utf-8"))
    prose = "\n".join(part.text for part in parts if part.kind == "prose")
    printed = "\n".join(part.printed for part in parts)
    (title,) = re.findall(r'An audit says "(.*)"', prose)
    (figures,) = re.findall(r"A class with (.*?) % .* that is (.*?) points worse costs (.*?) % of all", prose)
    assert title in printed
    assert f"likely loss: {figures[1]}% of {figures[0]}% of the images = {figures[2]}% of all" in printed


def test_a_task_is_found_as_a_tutorial_is_and_an_unknown_page_is_refused(cells):
    script = importlib.import_module("write_tutorials")
    assert script.page_of("read-an-interval") == ROOT / "docs" / "tasks" / "read-an-interval.md"
    assert [script.page_of(page.stem) for page in PAGES] == PAGES
    with pytest.raises(ValueError, match=r"no page 'README'; known: attack-and-certify.*, read-an-interval"):
        script.page_of("README")


def test_a_page_that_fails_stops_no_other_and_the_run_ends_with_an_error(cells, monkeypatch, capsys):
    script = importlib.import_module("write_tutorials")
    ran = []

    def write(name, mode):
        ran.append((name, mode))
        if name == "one":
            raise RuntimeError("a cell")

    monkeypatch.setattr(script, "write_tutorial", write)
    monkeypatch.setattr(sys, "argv", ["write_tutorials.py", "--run", "one", "two"])
    with pytest.raises(SystemExit, match=r"failed: one$"):
        script.main()
    assert ran == [("one", "run"), ("two", "run")]
    assert "RuntimeError: a cell" in capsys.readouterr().err


def test_other_outputs_fail_a_check_and_not_a_run(cells, tmp_path, monkeypatch):
    script = importlib.import_module("write_tutorials")
    text = "# Sum\n\n```python\nprint(1 + 1)\n```\n\n<!-- output-1:begin -->\n```text\n{}\n```\n<!-- output-1:end -->\n"
    page = tmp_path / "sum.md"
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    page.write_text(text.format(2), encoding="utf-8")
    script.write_tutorial("sum", "check")
    page.write_text(text.format(3), encoding="utf-8")
    script.write_tutorial("sum", "run")
    with pytest.raises(ValueError, match=r"(?s)page shows.*-3.*\+2"):
        script.write_tutorial("sum", "check")
    assert page.read_text(encoding="utf-8") == text.format(3)


def test_cells_print_draw_and_share_their_names(cells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (
        "# A\n\n```python\nfrom PIL import Image\n\nside = 3\nprint('one')\nside + 1\n```\n\nThen.\n\n"
        "```python\nImage.new('RGB', (side, side))  # A black square of three pixels\n```\n\nEnd.\n"
    )
    ran = list(cells.run_cells(cells.read_cells(text), "a"))
    assert [cell.kind for cell, _ in ran] == ["prose", "python", "prose", "python", "prose"]
    assert ran[1][0].printed == "one\n4\n"
    assert ran[3][1][0].size == (3, 3)
    assert cells.description_of(ran[3][0].text) == "A black square of three pixels"
    assert not list(tmp_path.iterdir())


def test_a_command_must_end_as_its_comment_says(cells, monkeypatch):
    def ended(code):
        done = subprocess.CompletedProcess([], code, "printed\n", "error\n")
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)

    command = "snellen audit a.onnx b \\\n  --out c{}\n"
    ended(3)
    assert cells.run_commands(command.format("  # ends with 3")) == "printed\nerror\n"
    with pytest.raises(ValueError, match="ended with 3"):
        cells.run_commands(command.format(""))
    ended(0)
    assert cells.run_commands(command.format("")) == "printed\n"
    with pytest.raises(ValueError, match="ended with 0"):
        cells.run_commands(command.format("  # ends with 3"))
    with pytest.raises(ValueError, match="runs snellen alone"):
        cells.run_commands("rm a\n")


@pytest.mark.timeout(900)
def test_one_tutorial_runs_to_its_end():
    """Its assertions hold; on another day it is another one. SNELLEN_TUTORIAL=all runs all, for a release."""
    names = [page.stem for page in PAGES if page.stem not in NOT_DAILY]
    chosen = os.environ.get(VARIABLE) or names[datetime.datetime.now(datetime.UTC).toordinal() % len(names)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "scripts/write_tutorials.py", "--run", *([] if chosen == "all" else [chosen])],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
