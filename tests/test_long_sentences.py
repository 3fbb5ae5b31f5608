"""Sentences of the pages of reference and explanation have 25 words at most; the script finds those that have more."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Pages that hold the rule, and how many sentences of each do not.
HELD = {"gating": 0, "metrics": 0, "peers": 0, "poison": 0, "statistics": 3, "trust": 0}


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("long_sentences")


@pytest.mark.parametrize("page", HELD)
def test_sentences_are_short(script, page):
    found = script.long_ones((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    # Of statistics.md: what is in its pictures, for those who do not see them.
    assert len(found) <= HELD[page], found


def test_what_is_no_sentence_is_not_counted(script):
    words = " ".join(["word"] * 26)
    for text in (f"| {words} |", f"```\n{words}\n```", f"<!-- a:begin -->\n{words}\n<!-- a:end -->", f"# {words}"):
        assert not script.long_ones(text), text
    assert script.long_ones(f"Short one. {words.capitalize()}.") == [f"{words.capitalize()}."]
    assert not script.long_ones(f"- {' '.join(['word'] * 20)}\n- {' '.join(['word'] * 20)}")
    assert not script.long_ones(f"`{words}` [a](b)")
