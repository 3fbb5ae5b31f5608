"""The gallery shows findings that its script measured, each with its picture and a command that parses."""

import importlib
import json
import shlex
from pathlib import Path

import pytest
import typer

from snellen.cli import app as command_line

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("write_gallery")


def test_the_page_holds_what_was_measured(script):
    kept = json.loads(script.MEASURED.read_text(encoding="utf-8"))
    assert list(kept) == [audit.name for audit in script.AUDITS]
    for audit in script.AUDITS:
        assert kept[audit.name]["command"] == audit.command, f"run scripts/write_gallery.py {audit.name}"
        assert [one["kind"] for one in kept[audit.name]["findings"]] == [one.kind for one in audit.shown]
    text = script.PAGE.read_text(encoding="utf-8")
    assert script.with_block(text, "gallery", script.gallery(kept), "docs/gallery.md") == text


def test_every_picture_is_small_and_shown(script):
    text = script.PAGE.read_text(encoding="utf-8")
    shown = {f"{audit.name}-{one.kind}.png" for audit in script.AUDITS for one in audit.shown}
    assert {file.name for file in script.PICTURES.iterdir()} == shown
    for name in shown:
        assert f"(pictures/gallery/{name})" in text
        assert (script.PICTURES / name).stat().st_size <= 60_000


def test_every_command_parses(script):
    command = typer.main.get_command(command_line.app)
    for audit in script.AUDITS:
        name, *arguments = shlex.split(audit.command)[1:]
        command.commands[name].make_context(name, list(arguments))


def test_a_strip_holds_every_example_with_its_change(script):
    from PIL import Image

    from snellen.runs.thumbnails import png

    black, white = png(Image.new("RGB", (28, 28))), png(Image.new("RGB", (28, 28), "white"))
    sheet = script.strip([([black, white], "Coat: a → b"), ([white, black], "c")])
    assert sheet.getpixel((script.GAP + 5, script.GAP + 5)) == (0, 0, 0)
    assert sheet.getpixel((script.GAP + script.SIDE + 7, script.GAP + 5)) == (255, 255, 255)
    assert sheet.height == script.SIDE + script.LINE + 2 * script.GAP


def test_a_caption_is_shown_whole(script):
    assert script.fitting_font("Ankle boot -> Sneaker", script.SIDE).getlength("Ankle boot -> Sneaker") <= script.SIDE
    with pytest.raises(ValueError, match="show fewer images"):
        script.fitting_font("a" * 60, script.SIDE)


def test_an_unknown_audit_is_refused(script):
    with pytest.raises(SystemExit, match=r"no audit copies; known: clothes, damage"):
        script.main(["copies"])
