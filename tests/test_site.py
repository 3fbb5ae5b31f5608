"""Pages of the site that are written when it is built; the build itself is a step of ``.ci/run``."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

import snellen
from snellen.cli import app as command_line

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def reference(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("site_reference")


def test_every_public_name_has_an_entry(reference):
    page = "\n".join(reference.python_page())
    assert re.findall(r"auto\w+:: snellen\.(\w+)", page) == [name for name in snellen.__all__ if name[0] != "_"]


def test_every_method_of_a_room_has_an_entry_with_all_parameters(reference):
    for room in reference.ROOMS:
        module, page = importlib.import_module(f"snellen.{room}"), "\n".join(reference.room_page(room, room))
        assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == dir(module)
    fields = snellen.attacks.PGD.model_fields
    part = reference.parameters_of(snellen.attacks.PGD)
    assert re.findall(r"^\| `(\w+)`", part, re.MULTILINE) == list(fields)


def test_every_command_has_an_entry_with_its_options(reference):
    page = "\n".join(reference.commands_page())
    titles = re.findall(r"^## snellen (.+)$", page, re.MULTILINE)
    found = [one.callback.__name__ for one in command_line.app.registered_commands if one.callback]
    commands = {name.replace("_", "-") for name in found}
    groups = {str(group.name) for group in command_line.app.registered_groups}
    assert {title.split()[0] for title in titles} == commands | groups
    assert {"attack pgd", "audit", "scan backdoor", "treat"} <= set(titles)
    audit = page.partition("## snellen audit\n")[2].partition("\n## ")[0]
    assert {"MODEL", "DATA", "--effort", "--out"} <= set(re.findall(r"^\| `([^`]+)`", audit, re.MULTILINE))


def test_links_of_pages_of_the_root_folder_lead_to_pages_or_are_text(reference):
    given = "[one](docs/treating.md#treatments) [two](src/snellen/py.typed) [three](https://a.b) [four](SECURITY.md)"
    wanted = "[one](../treating.md#treatments) two [three](https://a.b) [four](SECURITY.md)"
    assert reference.root_page(given) == wanted


def test_text_of_a_table_cannot_break_it(reference):
    assert reference._cell("a | b\n<script>") == r"a \| b &lt;script>"


@pytest.fixture
def records(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("schema_reference")


def test_every_field_of_every_file_has_a_meaning_and_a_type(records):
    nameless, fields = [], 0
    for file, schema in importlib.import_module("format_schemas").schemas().items():
        for name, part in {file: schema, **schema.get("$defs", {})}.items():
            for field, described in part.get("properties", {}).items():
                fields += 1
                if not records.meaning(field, described, part) or not records.type_of(described):
                    nameless.append(f"{file}: {name}.{field}")
    assert fields > 700
    assert not nameless, "say what these are: a description, or Attributes in the docstring of the model"


def test_the_page_of_a_report_names_its_parts_and_links_to_them(records):
    page = records.record_pages()["report"]
    for name in re.findall(r"\]\(#(\w+)\)", page):
        assert re.search(rf"^## {name}$", page, re.MULTILINE | re.IGNORECASE), name
    row = next(line for line in page.splitlines() if line.startswith("| `harm` "))
    assert row == "| `harm` | number ≥ 0, ≤ 1 | share of the data lost, a lower bound at 95 % |"
    assert "| `metrics` | object, name → [CheckFigure](#checkfigure) |" in page
    assert ">>>" not in page


def test_fields_are_read_from_docstrings(records):
    text = "A row.\n\nAttributes:\n    low, high: ends of\n        an interval.\n    n: images. m: units."
    ends = "ends of an interval"
    assert records.attributes(text) == {"low": ends, "high": ends, "n": "images", "m": "units"}
    assert records.type_of({"anyOf": [{"$ref": "#/$defs/Cell"}, {"type": "null"}]}) == "[Cell](#cell) or null"


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    checked = importlib.import_module("check_site")

    def problems(**pages):
        for name, body in pages.items():
            (tmp_path / f"{name}.html").write_text(f"<html><body>{body}</body></html>", encoding="utf-8")
        return list(checked.problems(tmp_path))

    return problems


def test_a_sound_site_has_no_problems(site):
    one = '<a href="two.html#here">1</a><a href="#own">2</a><p id="own"></p><a href="https://a.b/c?d=e#f">3</a>'
    assert not site(one=one, two='<p id="here"></p><img src="data:image/png;base64,AA==">')


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="gone.html">1</a>', "one.html: gone.html: no such file"),
        ('<a href="#gone">1</a>', "one.html: #gone: no such anchor"),
        ('<a href="../../etc/passwd">1</a>', "one.html: ../../etc/passwd: no such file"),
        ('<a href="https:///path">1</a>', "one.html: https:///path: not a whole address"),
        ('<a href="javascript:x()">1</a>', "one.html: javascript:x(): not an address that a browser opens"),
        ('<script src="https://a.b/c.js"></script>', "one.html: https://a.b/c.js: fetched from elsewhere"),
        ('<link rel="stylesheet" href="//a.b/c.css">', "one.html: //a.b/c.css: fetched from elsewhere"),
        ('<img src="gone.png">', "one.html: gone.png: no such file"),
        ('<source src="https://a.b/c.mp4">', "one.html: https://a.b/c.mp4: fetched from elsewhere"),
        ('<iframe src="https://a.b/c"></iframe>', "one.html: https://a.b/c: fetched from elsewhere"),
        ('<video src="https://a.b/c.mp4"></video>', "one.html: https://a.b/c.mp4: fetched from elsewhere"),
    ],
)
def test_each_problem_of_a_site_is_named(site, body, problem):
    assert site(one=body) == [problem]


def test_a_link_out_of_the_site_to_a_file_that_is_there_leads_nowhere_once_it_is_served(site, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside.html"
    outside.write_text("<html></html>", encoding="utf-8")
    link = f"../{outside.name}"
    assert site(one=f'<a href="{link}">1</a>') == [f"one.html: {link}: no such file"]


def test_a_site_without_pages_and_one_that_is_too_large_are_refused(site, tmp_path, monkeypatch):
    assert site() == [f"{tmp_path} holds no page"]
    monkeypatch.setattr(importlib.import_module("check_site"), "MOST", 10)
    (size,) = site(one="")
    assert re.fullmatch(r"the site has \d+ bytes, and 10 are too many", size)


def test_what_the_theme_leaves_out_is_added():
    spec = importlib.util.spec_from_file_location("site_conf", SCRIPTS.parent / "docs" / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    given = (
        '<p class="caption" role="heading"><span>Start</span></p><aside class="sidebar-drawer"></aside>'
        '<aside class="toc-drawer no-toc"></aside><pre>code</pre><th class="head"><p></p></th>'
        '<div class="table-wrapper docutils container"></div><div id="search-results"></div>'
    )
    wanted = (
        '<p class="caption" role="heading" aria-level="2"><span>Start</span></p>'
        '<aside class="sidebar-drawer" aria-label="All pages"></aside>'
        '<aside class="toc-drawer no-toc" aria-label="On this page"></aside><pre tabindex="0">code</pre>'
        '<td class="head"></td><div class="table-wrapper docutils container" tabindex="0" role="group" '
        'aria-label="Table"></div><h1>Search</h1><div id="search-results"></div>'
    )
    assert conf.accessible(given) == wanted
