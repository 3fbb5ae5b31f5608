"""Generated tables are fresh; the scripts that write tables, draw pictures and measure find what belongs to them."""

import importlib
import inspect
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from snellen.core.system import JUDGE, Budget, System, list_systems
from snellen.core.system import recorded as record_of
from snellen.reproduction.claims_table import claims_table
from snellen.reproduction.result import ClaimResult, GateResult, Result
from snellen.reproduction.shared.documents import measured_path, picture_path, read_measured
from snellen.reproduction.smooth_inversion import measure as backdoor_scan
from snellen.reproduction.viewpoints import measure as furniture_views

ROOT = Path(__file__).parents[1]
LIST = (ROOT / "docs" / "systems" / "README.md").read_text(encoding="utf-8")

#: Bytes of a picture on a page.
LARGEST_PICTURE = 200_000

#: Blocks that take long to write and have scripts of their own.
ELSEWHERE = {
    ("docs/gallery.md", "gallery"),
    ("docs/audit.md", "figures"),
    ("docs/trust.md", "healthy"),
    ("docs/trust.md", "faults"),
}


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module


@pytest.fixture
def copy(tmp_path):
    """The documents, figures and results of a working copy."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("pictures"))
    shutil.copytree(ROOT / "results", tmp_path / "results")
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def test_every_table_is_fresh(script):
    script("write_tables").main(["--check"])
    rows = LIST.partition("<!-- systems:begin -->")[2].partition("<!-- systems:end -->")[0].strip().splitlines()[2:]
    assert [int(row.split("|")[1]) for row in rows] == list(range(1, 40))


def test_every_marker_of_a_document_has_a_table(script):
    tables = script("write_tables").list_tables(ROOT)
    written = {(page, name) for each in tables.values() for pages in each for page in pages for name in pages[page]}
    assert not written & ELSEWHERE
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
        for name in re.findall(r"<!-- (.+?):begin -->", path.read_text(encoding="utf-8"))
        if not (path.parent.name in ("tasks", "tutorials") and name.startswith("output-"))  # tests/test_tutorials.py
    }
    assert found == written | ELSEWHERE


def test_stale_tables_are_named_and_written_anew(script, copy):
    write_tables = script("write_tables")
    listing, page = copy / "docs" / "systems" / "README.md", copy / "docs" / "systems" / "smooth_inversion.md"
    before = page.read_text(encoding="utf-8")
    listing.write_text(LIST.replace("MedMNIST-C: Comprehensive", "MedMNIST-C: Partial"), encoding="utf-8")
    stale = before.replace("| way | AUC |", "| way | area |")
    end = "<!-- claims smooth_inversion:end -->"
    stale = stale.replace(end, f"A line of an earlier record.\n{end}")
    page.write_text(stale, encoding="utf-8")
    names = ["systems", "smooth_inversion", "viewpoints"]
    with pytest.raises(SystemExit) as failed:
        write_tables.main(["--check", *names], copy)
    listed = str(failed.value).removeprefix("stale: ").split("; ")[:-1]
    systems = "docs/systems/smooth_inversion.md"
    assert listed == ["docs/systems/README.md: systems", f"{systems}: claims smooth_inversion", f"{systems}: study"]
    assert page.read_text(encoding="utf-8") == stale
    write_tables.main(["smooth_inversion"], copy)
    assert page.read_text(encoding="utf-8") == before
    assert listing.read_text(encoding="utf-8") != LIST
    write_tables.main(["systems"], copy)
    assert listing.read_text(encoding="utf-8") == LIST


def test_a_name_without_tables_is_refused(script, capsys):
    with pytest.raises(SystemExit):
        script("write_tables").main(["--check", "no_system"])
    assert "there are no tables of no_system; there are: systems, " in capsys.readouterr().err


@pytest.mark.parametrize("text", ["no markers", "<!-- systems:begin -->", "<!-- systems:end --><!-- systems:begin -->"])
def test_missing_markers_fail(script, text):
    with pytest.raises(SystemExit, match="once each"):
        script("write_tables").with_block(text, "systems", "table")


def test_commands_are_planned_until_a_system_has_methods(script):
    systems_table = script("write_tables").systems_table
    fields = {"title": "A | B", "source": "-", "area": "attacks", "command": "snellen attack a", "summary": "Does."}
    unbuilt = System(name="x", number=1, acronym="X", **fields)
    built = System(name="y", number=2, acronym="Y", methods=("a",), **fields)
    alone = systems_table([unbuilt])
    assert "| planned command |" in alone
    assert alone.splitlines()[2] == r"| 1 | [`x`](x.md) | A \| B (X) | Does. | `snellen attack a` | not run |"
    both = systems_table([unbuilt, built]).splitlines()
    assert "| command |" in both[0]
    assert "`snellen attack a` (planned)" in both[2]
    assert "`snellen attack a` | not run" in both[3]


# -- the table of claims -----------------------------------------------------------------------------------------------


def claim(name, verdict, **changed):
    fields = {
        "id": name,
        "statement": "It works.",
        "source": "table 1",
        "metric": "accuracy",
        "ours": 0.75,
        "baseline": 0.5,
        "low": 0.125,
        "high": 0.375,
        "direction": ">",
        "threshold": 0.0,
        "verdict": verdict,
        "seeds": 5,
    }
    return ClaimResult(**{**fields, **changed})


def recorded(folder, **changed):
    fields = {
        "system": "smooth_inversion",
        "number": 33,
        "title": "T",
        "scale": "small",
        "seeds": 5,
        "seed_ids": (100, 101, 102, 103, 104),
        "budget": Budget(),
        "claims": (claim("33.1", "holds"),),
        "claims_hash": "",
        "plan_hash": "",
        "code_hash": "",
        "claim_hashes": {},
        "environment": {},
        "duration_s": 1.0,
    }
    result = Result(**{**fields, **changed})
    (folder / "smooth_inversion.json").write_text(result.model_dump_json(), encoding="utf-8")
    return claims_table("smooth_inversion", folder)


def test_a_system_without_a_record_says_so(tmp_path):
    assert claims_table("smooth_inversion", tmp_path) == "Nothing is recorded yet."


def test_each_verdict_has_its_row(tmp_path):
    gone = {"ours": None, "baseline": None, "low": None, "high": None}
    claims = (
        claim("33.1", "holds"),
        claim("33.2", "fails"),
        claim("33.3", "undecided", low=-0.5, reason="the interval holds the threshold"),
        claim("33.4", "missing", reason="2 of the values could not be measured", **gone),
        claim("33.5", "not run", reason="closed: trained"),
        claim("33.6", "holds", low=None, high=None, reason="the values do not vary; judged by their signs"),
    )
    lines = recorded(tmp_path, claims=claims).splitlines()
    rows = [line for line in lines if line.startswith("| 33.")]
    assert rows[0] == "| 33.1 | It works. | table 1 | 0.7500 | 0.5000 | 0.1250 – 0.3750 | > 0 | holds |"
    assert [row.split(" | ")[-1] for row in rows] == [
        "holds |",
        "**fails** |",
        "**undecided** |",
        "**missing** (2 of the values could not be measured) |",
        "**not run** (closed: trained) |",
        "holds (the values do not vary; judged by their signs) |",
    ]
    assert rows[3].split("|")[4:7] == ["  ", "  ", "  "]


def test_what_was_struck_out_is_listed_with_its_verdict_and_not_in_the_table(tmp_path):
    text = recorded(tmp_path, claims=(claim("33.1", "holds"), claim("33.9", "holds")))
    assert [line.split(" ")[1] for line in text.splitlines() if line.startswith("| 33.")] == ["33.1"]
    (line,) = (line for line in text.splitlines() if line.startswith("- 33.9"))
    assert line.startswith("- 33.9, recorded as *holds*: It works. **Why:** That the planted patch reaches its target")
    assert "Struck out" not in recorded(tmp_path)


def test_the_record_says_how_it_was_judged(tmp_path):
    assert "over the seeds 100, 101, 102, 103, 104: a paired hierarchical bootstrap" in recorded(tmp_path)
    earlier = recorded(tmp_path, judge=1, budget=None, seeds=3, seed_ids=(0, 1, 2))
    assert "Judged by the earlier rule: a t interval over the means of the seeds." in earlier


def test_a_record_of_other_claims_is_said_not_to_count():
    """An earlier record whose verdicts are counted must not be called void, nor the other way round."""
    for one in (one for one in list_systems() if (held := record_of(one.name)) and held.judge < JUDGE):
        page = (ROOT / "docs" / "systems" / f"{one.name}.md").read_text(encoding="utf-8")
        assert ("do not count for today's claims" in page) == (one.state == "not run"), one.name


def test_gates_stand_above_the_claims(tmp_path):
    gate = {"statement": "It trains.", "metric": "accuracy", "direction": ">", "threshold": 0.5}
    gates = (
        GateResult(id="trained", value=0.75, open=True, **gate),
        GateResult(id="b", value=None, open=False, **gate),
    )
    text = recorded(tmp_path, gates=gates, controls={"one": 0.5, "two": None})
    assert "| trained | It trains. | 0.7500 | > 0.5 | open |" in text
    assert "| b | It trains. |  | > 0.5 | **closed** |" in text
    assert text.index("| trained |") < text.index("| 33.1 |")
    assert text.endswith("Controls, which decide nothing ([whose they are](claims.md)): one 0.5000, two missing.")
    assert "| gate |" not in recorded(tmp_path)


# -- pictures and measurements -----------------------------------------------------------------------------------------


def test_every_picture_is_there_and_can_be_drawn(script):
    for module in script("reproduction_modules").find_modules("picture").values():
        for name, draw in importlib.import_module(module).PICTURES.items():
            assert (ROOT / "docs" / "pictures" / f"{name}.webp").is_file()
            assert list(inspect.signature(draw).parameters) == ["root", "target"]


def test_every_picture_is_described_on_a_page_and_small(script):
    pages = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").rglob("*.md"))]
    for module in script("reproduction_modules").find_modules("picture").values():
        for name in importlib.import_module(module).PICTURES:
            shown = [one for page in pages for one in re.findall(rf"!\[(.*)\]\(\S*pictures/{name}\.webp\)", page)]
            assert shown, f"no page shows {name}"
            assert all(len(described.split()) >= 4 for described in shown), name
            assert picture_path(ROOT, name).stat().st_size <= LARGEST_PICTURE, name


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("shared.guided_generation", "guidance-curves"),
        ("guided_captions", "guided-captions-trade-off"),
        ("representation_transfer", "transfer-by-depth"),
    ],
)
def test_pictures_of_recorded_figures_are_drawn_again(tmp_path, module, name):
    target = tmp_path / "drawn.webp"
    importlib.import_module(f"snellen.reproduction.{module}.picture").PICTURES[name](ROOT, target)
    with Image.open(target) as drawn, Image.open(picture_path(ROOT, name)) as committed:
        assert drawn.size == committed.size


def rounded(value):
    """Figures to 12 digits: the last ones depend on who computes quantiles."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def test_summaries_and_files_follow_from_what_was_measured():
    scan = read_measured(ROOT, "backdoor-scan")
    assert rounded(backdoor_scan.summary(scan["models"])) == rounded(scan["summary"])
    furniture = measured_path(ROOT, "real-viewpoints").read_text(encoding="utf-8")
    assert furniture_views.as_text(json.loads(furniture)) == furniture


def test_every_measurement_takes_a_root_a_progress_and_settings_with_defaults(script):
    for module in script("reproduction_modules").find_modules("measure").values():
        for part in importlib.import_module(module).MEASUREMENTS.values():
            root, progress, *others = inspect.signature(part).parameters.values()
            assert (root.name, progress.name) == ("root", "progress")
            assert all(one.kind is one.KEYWORD_ONLY and one.default is not one.empty for one in others)


def test_parts_run_in_order_with_their_settings(script, monkeypatch, tmp_path, capsys):
    measure, calls = script("measure"), []

    def first(root, progress, *, seeds=1, work="here"):
        calls.append(("first", root, seeds, work))

    def second(root, progress, *, work="there"):
        calls.append(("second", root, work))

    module = type("module", (), {"MEASUREMENTS": {"first": first, "second": second}})
    monkeypatch.setattr(measure, "find_modules", lambda kind: {"a_system": "a_module"})
    # The script's own name alone: what is imported for the first time meanwhile must not keep this one.
    monkeypatch.setattr(measure, "importlib", SimpleNamespace(import_module=lambda name: {"a_module": module}[name]))
    monkeypatch.setattr(measure.torch, "set_num_threads", lambda count: None)
    measure.main(["a_system", "--set", "work=a=b"], tmp_path)
    measure.main(["a_system", "--part", "first", "--set", "seeds=3"], tmp_path)
    assert calls == [("first", tmp_path, 1, "a=b"), ("second", tmp_path, "a=b"), ("first", tmp_path, 3, "here")]
    for wrong, message in (
        (["--set", "seeds=3"], "first, second has no setting seeds; settings: work"),
        (["--part", "third"], "a_system has no part third; it has: first, second"),
    ):
        with pytest.raises(SystemExit):
            measure.main(["a_system", *wrong], tmp_path)
        assert message in capsys.readouterr().err
