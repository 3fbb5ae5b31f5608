"""Blocks about generated training images: empty without figures, and true to them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("generated_set_tables")


def gain(promised, measured, *, apart=False):
    low, high = promised[1:]
    return {
        "config": "by_name + all real images", "test": "in distribution", "real": 400, "synthetic": 1000,
        "verdict": "helps", "promised": promised, "measured": measured, "within": low <= measured[0] <= high,
        "apart": apart,
    }  # fmt: skip


GAINS = [gain([-0.5, -0.7, -0.3], [-0.4, -0.5, -0.3]), gain([-0.5, -0.6, -0.4], [0.1, 0.0, 0.2], apart=True)]


def garments():
    def arm(accuracy, change=None):
        found = {"accuracy": accuracy, "loss": 1.0}
        return {
            test: {**found, **({"accuracy_change": change} if change else {})}
            for test in ("in distribution", "damaged")
        }

    arms = {"real": arm(0.7), "generated": arm(0.65, [-0.05, -0.08, -0.02]), "mixed": arm(0.75, [0.05, 0.02, 0.08])}
    return {"real": 40, "generated": 100, "seeds": 8, "tested": 5000, "kept": "guided", "arms": arms, "gains": GAINS}


def test_a_block_without_figures_is_empty(tables, tmp_path):
    for blocks in tables.TABLES.values():
        assert {draw(tmp_path) for name, draw in blocks.items() if name not in ("exponents", "poor classes")} == {""}


def test_a_part_that_is_not_measured_yet_leaves_its_block_empty(tables, tmp_path):
    folder = tmp_path / "docs" / "measured"
    folder.mkdir(parents=True)
    (folder / "generated-scenes.json").write_text(json.dumps({"autoencoder": {}}), encoding="utf-8")
    (folder / "generated-garments.json").write_text(json.dumps(garments()), encoding="utf-8")
    blocks = tables.TABLES["docs/systems/scaling_laws.md"]
    assert blocks["scenes of 64 pixels"](tmp_path) == ""
    assert "| 400 | 1,000 |" in blocks["garments"](tmp_path)


def test_garments_have_a_row_for_each_kind_with_its_change(tables):
    text = tables.garments_arms(garments())
    assert "| real images | 70.0 % |  | 70.0 % |  |" in text
    assert "| generated images | 65.0 % | -5.0 (-8.0 to -2.0) | 65.0 % | -5.0 (-8.0 to -2.0) |" in text
    assert "| both | 75.0 % | +5.0 (+2.0 to +8.0) |" in text
    assert "5,000 test images" in text


def test_promises_that_are_not_kept_are_counted_and_marked(tables):
    text = tables.garments_gains(garments())
    assert "| 400 | 1,000 | -0.50 (-0.70 to -0.30) | -0.40 (-0.50 to -0.30) | yes |" in text
    assert "| 400 | 1,000 | -0.50 (-0.60 to -0.40) | +0.10 (+0.00 to +0.20) | no |" in text
    assert "1 of 2 measured changes lie within the promised interval. 1 of 2 differ" in text


def test_classes_that_the_generator_never_saw_are_counted_where_both_are_highest(tables, monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "SMALL", tables.SMALL.__class__(**{**vars(tables.SMALL), "test": 1}))
    monkeypatch.setattr(tables, "SETTINGS", {"guided": "names"})
    names = tables.shapes("val", 1).class_names
    order = [names[label] for label in tables.shapes("val", 1).labels]
    folder = tmp_path / "results" / "scaling_laws"
    folder.mkdir(parents=True)
    for number, highest in enumerate((tables.UNKNOWN, ("square", "heart"))):
        losses = [3.0 if name in highest else 1.0 for name in order]
        figures = {"guided.loss": losses, "guided.poor_are_unknown": (None, 0.0)[number]}
        (folder / f"seed-{number}.json").write_text(json.dumps({"figures": figures}), encoding="utf-8")
    text = tables.poor_classes(tmp_path)
    assert "| 1 of 2 |" in text
    assert "no class poor in 1 of 2 seeds" in text
    assert "only others poor in 1, and none but these two in 0" in text


def test_exponents_are_paired_by_seed(tables, tmp_path):
    folder = tmp_path / "results" / "scaling_laws"
    folder.mkdir(parents=True)
    names = ("real", *tables.SETTINGS)
    for number, added in enumerate((0.0, 0.25, 0.5)):
        figures = {f"{name}.exponent": place / 4 + added for place, name in enumerate(names)}
        (folder / f"seed-{number}.json").write_text(json.dumps({"figures": figures}), encoding="utf-8")
    text = tables.exponents(tmp_path)
    assert "| real images | 0.25 (-0.37 to 0.87) | -0.75 (-0.75 to -0.75) |" in text
    assert "| class names, 4 | 1.00 (0.38 to 1.62) |  |" in text
