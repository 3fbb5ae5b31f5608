"""Pages of the site that are written when it is built; the build itself is a step of ``.ci/run``."""

import importlib
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
    commands = {command.callback.__name__ for command in command_line.app.registered_commands if command.callback}
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
