"""The pictures of docs/statistics.md are drawn by their script, and what the page says of functions is true."""

import importlib
import re
from pathlib import Path

import pytest

from snellen.core.finding import LEVELS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")


@pytest.fixture
def drawn(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("draw_statistics")


def test_pictures_are_those_that_the_script_draws(drawn):
    for name, draw in drawn.PICTURES.items():
        kept = (ROOT / "docs" / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
        assert draw() == kept, f"{name} is stale; run: python scripts/draw_statistics.py"


def test_the_page_shows_each_picture_and_says_what_is_in_it(drawn):
    shown = dict(re.findall(r"!\[([^\]]+)\]\(pictures/([\w-]+)\.svg\)", PAGE))
    labels = {re.search(r'aria-label="([^"]+)"', draw())[1]: name for name, draw in drawn.PICTURES.items()}
    assert shown == labels


def test_pictures_are_read_in_light_and_dark(drawn):
    for draw in drawn.PICTURES.values():
        light, _, dark = draw().partition("@media (prefers-color-scheme: dark)")
        for look in re.findall(r'class="([\w ]+)"', draw()):
            for name in look.split():
                assert f".{name} {{" in light, name
                assert name in ("bold", "dash") or f".{name} {{" in dark, name


def test_functions_of_the_page_exist():
    named = set(re.findall(r"`(snellen\.[\w.]+)`", PAGE))
    assert len(named) > 15
    for path in named:
        module, found = path, None
        while found is None:
            module, _, _ = module.rpartition(".")
            try:
                found = importlib.import_module(module)
            except ModuleNotFoundError:
                continue
        for part in path.removeprefix(f"{module}.").split("."):
            assert hasattr(found, part), path
            found = getattr(found, part)


def test_levels_of_the_page_are_those_of_the_code():
    rows = dict(re.findall(r"^\| (severe|moderate|mild|note) \| ([\d.]+)", PAGE, re.MULTILINE))
    assert {level: float(share) / 100 for level, share in rows.items()} == LEVELS
