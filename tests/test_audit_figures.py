"""The summary of an audit in docs/audit.md is what the command prints about the model and the images that ship."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

import snellen

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")


@pytest.fixture
def figures_script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))  # scripts import each other
    return importlib.import_module("write_audit_figures")


def figures(text: str) -> str:
    """What stands between the generated markers."""
    return text.partition("<!-- figures:begin -->")[2].partition("<!-- figures:end -->")[0]


def test_the_clean_accuracy_is_that_of_the_shipped_weights_on_the_shipped_images():
    classifier, images = snellen.load_classifier("bundled:fashion-cnn"), snellen.load_images("bundled:fashion-mnist")
    with torch.inference_mode():
        scores = classifier(torch.stack([classifier.prepare(example.image) for example in images]))
    accuracy = (scores.argmax(1).numpy() == images.labels).mean()
    told = re.search(r"^clean\.accuracy +(\d\.\d{4}) .* 2000$", figures(PAGE), re.MULTILINE)
    assert told is not None
    assert float(told[1]) == pytest.approx(accuracy, abs=5e-4)


def test_the_figures_are_what_the_command_prints(figures_script, tmp_path, monkeypatch):
    """All parts of the summary, in order; on few images and one check, as the whole takes most of a minute."""
    printed = figures_script.printed_summary("--limit", "40", "--checks", "clean")
    assert "\x1b" not in printed
    parts = [r"^bundled:fashion-cnn on ", r"^metric +value +95 % interval +images$", r"^clean\.accuracy +\d\.\d{4}"]
    last = r"\nReport: snellen-audit-1/report\.html$"
    assert re.search(".*".join([*parts, last]), printed, re.MULTILINE | re.DOTALL)
    whole = [*parts, r"^accuracy at severity +1 +2 +3 +4 +5$", r"^harm +level +finding$", last]
    assert re.search(".*".join(whole), figures(PAGE).replace("\n```", ""), re.MULTILINE | re.DOTALL)

    copy = tmp_path / "audit.md"
    copy.write_text(PAGE.replace("Report: ", "Rapport: "), encoding="utf-8")
    monkeypatch.setattr(figures_script, "PAGE", copy)
    monkeypatch.setattr(figures_script, "printed_summary", lambda: "all that was printed")
    figures_script.main()
    assert figures(copy.read_text(encoding="utf-8")) == "\n```\nall that was printed\n```\n"
